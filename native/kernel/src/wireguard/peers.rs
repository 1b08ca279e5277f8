//! Peers as they cross the border to JavaScript, parsed into typed values.

use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;

use crate::errors::{KernelError, Result};
use crate::netlink::routes::address_of;

/// One netlink message must hold a peer, and its length fields have 16 bits.
const MOST_ALLOWED_IPS: usize = 1024;

#[napi(object)]
pub struct EndpointRow {
    /// A numeric address, never a name.
    pub address: String,
    pub port: u16,
}

#[napi(object)]
pub struct AllowedIpRow {
    /// 4 or 16 bytes in network order.
    pub address: Uint8Array,
    pub length: u8,
}

#[napi(object)]
pub struct PeerRow {
    pub public_key: Uint8Array,
    pub preshared_key: Uint8Array,
    pub endpoint: Option<EndpointRow>,
    pub allowed_ips: Vec<AllowedIpRow>,
    /// Seconds; 0 sends none.
    pub keepalive: u16,
}

#[napi(object)]
pub struct PeerStateRow {
    pub public_key: Uint8Array,
    pub endpoint: Option<EndpointRow>,
    pub allowed_ips: Vec<AllowedIpRow>,
    /// Milliseconds; missing before the first handshake.
    pub handshake_age_ms: Option<f64>,
    pub received_bytes: BigInt,
    pub sent_bytes: BigInt,
    /// Seconds; 0: none are sent.
    pub keepalive: u16,
}

/// A peer with every field checked.
pub struct Peer {
    pub public_key: [u8; 32],
    pub preshared_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    pub allowed_ips: Vec<IpNetwork>,
    pub keepalive: u16,
}

pub struct PeerState {
    pub public_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    pub allowed_ips: Vec<IpNetwork>,
    pub handshake_age_ms: Option<f64>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub keepalive: u16,
}

impl TryFrom<PeerRow> for Peer {
    type Error = KernelError;

    fn try_from(row: PeerRow) -> Result<Self> {
        let endpoint = match row.endpoint {
            None => None,
            Some(endpoint) => {
                let address: IpAddr = endpoint.address.parse().map_err(|_| malformed("endpoint address"))?;
                if endpoint.port == 0 {
                    return Err(malformed("endpoint port"));
                }
                Some(SocketAddr::new(address, endpoint.port))
            }
        };
        if row.allowed_ips.len() > MOST_ALLOWED_IPS {
            return Err(malformed("list of allowed IPs"));
        }
        Ok(Self {
            public_key: key("public key", &row.public_key)?,
            preshared_key: key("pre-shared key", &row.preshared_key)?,
            endpoint,
            allowed_ips: row.allowed_ips.iter().map(network).collect::<Result<_>>()?,
            keepalive: row.keepalive,
        })
    }
}

impl From<PeerState> for PeerStateRow {
    fn from(state: PeerState) -> Self {
        Self {
            public_key: state.public_key.to_vec().into(),
            endpoint: state.endpoint.map(|at| EndpointRow { address: at.ip().to_string(), port: at.port() }),
            allowed_ips: state.allowed_ips.iter().map(row_of).collect(),
            handshake_age_ms: state.handshake_age_ms,
            received_bytes: state.received_bytes.into(),
            sent_bytes: state.sent_bytes.into(),
            keepalive: state.keepalive,
        }
    }
}

/// 32 bytes. The text never holds the bytes: it ends up in logs.
pub fn key(what: &str, bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| malformed(what))
}

/// Keys one behind the other.
pub fn keys(what: &str, bytes: &[u8]) -> Result<Vec<[u8; 32]>> {
    let (keys, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(keys.to_vec()) } else { Err(malformed(what)) }
}

fn network(row: &AllowedIpRow) -> Result<IpNetwork> {
    let network = IpNetwork::new(address_of(&row.address)?, row.length).map_err(|_| malformed("allowed IP"))?;
    if network.network() != network.ip() {
        return Err(malformed("allowed IP"));
    }
    Ok(network)
}

fn row_of(network: &IpNetwork) -> AllowedIpRow {
    let address = match network.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    AllowedIpRow { address: address.into(), length: network.prefix() }
}

fn malformed(what: &str) -> KernelError {
    KernelError::refused("WireGuard peer", format!("the {what} is malformed"))
}
