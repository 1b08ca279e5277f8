//! The generic netlink messages of the kernel's WireGuard (include/uapi/linux/wireguard.h), made and read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::catch_unwind;
use std::time::{Duration, SystemTime};

use ipnetwork::IpNetwork;
use netlink_packet_core::ParseableParametrized;
use netlink_packet_generic::GenlHeader;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use super::peers::{Peer, PeerState};

const GENL_HEADER_BYTES: usize = 4;
/// Their attribute's length field has 16 bits, and each takes up to 56 bytes.
pub const MOST_NAMED: usize = 512;

pub fn configure(ifindex: u32, private_key: [u8; 32], listen_port: u16) -> WireguardMessage {
    set(vec![
        WireguardAttribute::IfIndex(ifindex),
        WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers),
        WireguardAttribute::PrivateKey(private_key),
        WireguardAttribute::ListenPort(listen_port),
    ])
}

pub fn add_peer(ifindex: u32, peer: &Peer) -> WireguardMessage {
    let mut attributes = vec![
        WireguardPeerAttribute::PublicKey(peer.public_key),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
        WireguardPeerAttribute::PresharedKey(peer.preshared_key),
        WireguardPeerAttribute::PersistentKeepalive(peer.keepalive),
    ];
    if let Some(endpoint) = peer.endpoint {
        attributes.push(WireguardPeerAttribute::Endpoint(endpoint));
    }
    attributes.push(WireguardPeerAttribute::AllowedIps(peer.allowed_ips.iter().map(allowed_ip).collect()));
    set(vec![WireguardAttribute::IfIndex(ifindex), WireguardAttribute::Peers(vec![WireguardPeer(attributes)])])
}

/// At most `MOST_NAMED`.
pub fn remove_peers(ifindex: u32, public_keys: &[[u8; 32]]) -> WireguardMessage {
    let removed = |key: &[u8; 32]| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(*key),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ])
    };
    let peers = public_keys.iter().map(removed).collect();
    set(vec![WireguardAttribute::IfIndex(ifindex), WireguardAttribute::Peers(peers)])
}

/// At most `MOST_NAMED`. Of peers that are there and of nothing else of theirs.
pub fn set_keepalive(ifindex: u32, public_keys: &[[u8; 32]], seconds: u16) -> WireguardMessage {
    let changed = |key: &[u8; 32]| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(*key),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            WireguardPeerAttribute::PersistentKeepalive(seconds),
        ])
    };
    let peers = public_keys.iter().map(changed).collect();
    set(vec![WireguardAttribute::IfIndex(ifindex), WireguardAttribute::Peers(peers)])
}

pub fn remove_all_peers(ifindex: u32) -> WireguardMessage {
    set(vec![WireguardAttribute::IfIndex(ifindex), WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers)])
}

pub fn get(ifindex: u32) -> WireguardMessage {
    WireguardMessage { cmd: WireguardCmd::GetDevice, attributes: vec![WireguardAttribute::IfIndex(ifindex)] }
}

fn set(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
    WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
}

fn allowed_ip(network: &IpNetwork) -> WireguardAllowedIp {
    let family = if network.is_ipv4() { WireguardAddressFamily::Ipv4 } else { WireguardAddressFamily::Ipv6 };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(network.network()),
        WireguardAllowedIpAttr::Cidr(network.prefix()),
    ])
}

/// The answers of one `get`, put together.
#[derive(Default)]
pub struct DeviceState {
    pub listen_port: u16,
    pub private_key: Option<[u8; 32]>,
    pub peers: Vec<PeerState>,
}

impl DeviceState {
    /// Takes one answer's body, generic header included. A peer with many allowed IPs goes on in the next answer.
    pub fn take(&mut self, body: &[u8], now: SystemTime) -> Result<(), String> {
        let words = |error: netlink_packet_core::DecodeError| error.to_string();
        let header = GenlHeader::parse(body).map_err(words)?;
        let rest = body.get(GENL_HEADER_BYTES..).ok_or("a short answer")?;
        // The decoder takes the first byte of some attributes for granted, and panics where there is none. A panic here
        // would poison the device's lock: no peer could be removed any more.
        let decoded =
            catch_unwind(|| WireguardMessage::parse_with_param(rest, header)).map_err(|_| "a broken answer")?;
        for attribute in decoded.map_err(words)?.attributes {
            match attribute {
                WireguardAttribute::ListenPort(port) => self.listen_port = port,
                WireguardAttribute::PrivateKey(key) => self.private_key = Some(key),
                WireguardAttribute::Peers(peers) => {
                    for peer in peers {
                        self.take_peer(peer.0, now);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_peer(&mut self, attributes: Vec<WireguardPeerAttribute>, now: SystemTime) {
        let mut state = PeerState {
            public_key: [0; 32],
            endpoint: None,
            allowed_ips: Vec::new(),
            handshake_age_ms: None,
            received_bytes: 0,
            sent_bytes: 0,
            keepalive: 0,
        };
        for attribute in attributes {
            match attribute {
                WireguardPeerAttribute::PublicKey(key) => state.public_key = key,
                WireguardPeerAttribute::Endpoint(endpoint) => state.endpoint = Some(endpoint),
                WireguardPeerAttribute::RxBytes(bytes) => state.received_bytes = bytes,
                WireguardPeerAttribute::TxBytes(bytes) => state.sent_bytes = bytes,
                WireguardPeerAttribute::PersistentKeepalive(seconds) => state.keepalive = seconds,
                WireguardPeerAttribute::LastHandshake(at) => {
                    state.handshake_age_ms = age_ms(at.seconds, at.nano_seconds, now);
                }
                WireguardPeerAttribute::AllowedIps(ips) => state.allowed_ips.extend(ips.iter().filter_map(network)),
                _ => {}
            }
        }
        match self.peers.last_mut() {
            Some(last) if last.public_key == state.public_key => last.allowed_ips.append(&mut state.allowed_ips),
            _ => self.peers.push(state),
        }
    }
}

/// Nothing for 1970: the kernel's word for "never". A wall clock that went back makes it 0, not negative.
fn age_ms(seconds: i64, nanoseconds: i64, now: SystemTime) -> Option<f64> {
    let since_epoch = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    if since_epoch.is_zero() {
        return None;
    }
    let age = now.duration_since(SystemTime::UNIX_EPOCH + since_epoch).unwrap_or_default();
    Some(age.as_secs_f64() * 1000.0)
}

fn network(allowed: &WireguardAllowedIp) -> Option<IpNetwork> {
    let mut address: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let mut length = 0;
    for attribute in allowed.iter() {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = *found,
            WireguardAllowedIpAttr::Cidr(found) => length = *found,
            WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv6) if address.is_ipv4() => {
                address = Ipv6Addr::UNSPECIFIED.into();
            }
            _ => {}
        }
    }
    IpNetwork::new(address, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    /// Attributes as the header says: length and type, both 16 bits in host order, padded to four.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    const NESTED: u16 = 0x8000;

    fn bytes_of(message: &WireguardMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn peer() -> Peer {
        Peer {
            public_key: [1; 32],
            preshared_key: [2; 32],
            endpoint: Some("192.0.2.1:51840".parse().unwrap()),
            allowed_ips: vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            keepalive: 25,
        }
    }

    #[test]
    fn configuring_replaces_all_peers_and_sets_key_and_port() {
        let expected = [
            attribute(1, &7u32.to_ne_bytes()),
            attribute(5, &1u32.to_ne_bytes()),
            attribute(3, &[9; 32]),
            attribute(6, &51840u16.to_ne_bytes()),
        ]
        .concat();
        let message = configure(7, [9; 32], 51840);
        assert_eq!(message.cmd, WireguardCmd::SetDevice);
        assert_eq!(bytes_of(&message), expected);
    }

    #[test]
    fn adding_a_peer_says_exactly_what_the_header_defines() {
        let ipv4 = [attribute(1, &2u16.to_ne_bytes()), attribute(2, &[10, 1, 0, 0]), attribute(3, &[16])].concat();
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        let ipv6 = [attribute(1, &10u16.to_ne_bytes()), attribute(2, &address), attribute(3, &[32])].concat();
        let allowed = [attribute(NESTED, &ipv4), attribute(NESTED, &ipv6)].concat();
        // sockaddr_in: family in host order, port and address in network order, eight bytes of nothing.
        let endpoint = [&2u16.to_ne_bytes()[..], &51840u16.to_be_bytes(), &[192, 0, 2, 1], &[0; 8]].concat();
        let fields = [
            attribute(1, &[1; 32]),
            attribute(3, &2u32.to_ne_bytes()),
            attribute(2, &[2; 32]),
            attribute(5, &25u16.to_ne_bytes()),
            attribute(4, &endpoint),
            attribute(9 | NESTED, &allowed),
        ]
        .concat();
        let expected = [attribute(1, &7u32.to_ne_bytes()), attribute(8 | NESTED, &attribute(NESTED, &fields))].concat();
        assert_eq!(bytes_of(&add_peer(7, &peer())), expected);
    }

    #[test]
    fn removing_a_peer_flags_it_and_clearing_replaces_by_none() {
        let fields = [attribute(1, &[1; 32]), attribute(3, &1u32.to_ne_bytes())].concat();
        let expected = [attribute(1, &7u32.to_ne_bytes()), attribute(8 | NESTED, &attribute(NESTED, &fields))].concat();
        assert_eq!(bytes_of(&remove_peers(7, &[[1; 32]])), expected);
        assert_eq!(bytes_of(&remove_peers(7, &[[1; 32]; MOST_NAMED])).len(), 8 + 4 + MOST_NAMED * 48);
        let expected = [attribute(1, &7u32.to_ne_bytes()), attribute(5, &1u32.to_ne_bytes())].concat();
        assert_eq!(bytes_of(&remove_all_peers(7)), expected);
    }

    #[test]
    fn setting_a_keepalive_names_only_peers_that_are_there_and_nothing_else_of_them() {
        let fields =
            [attribute(1, &[1; 32]), attribute(3, &4u32.to_ne_bytes()), attribute(5, &9u16.to_ne_bytes())].concat();
        let expected = [attribute(1, &7u32.to_ne_bytes()), attribute(8 | NESTED, &attribute(NESTED, &fields))].concat();
        assert_eq!(bytes_of(&set_keepalive(7, &[[1; 32]], 9)), expected);
        assert_eq!(bytes_of(&set_keepalive(7, &[[1; 32]; MOST_NAMED], 9)).len(), 8 + 4 + MOST_NAMED * 56);
    }

    #[test]
    fn a_peer_split_over_two_answers_is_one_peer() {
        let answer = |attributes: Vec<WireguardPeerAttribute>| {
            let message = WireguardMessage {
                cmd: WireguardCmd::GetDevice,
                attributes: vec![
                    WireguardAttribute::ListenPort(51840),
                    WireguardAttribute::Peers(vec![WireguardPeer(attributes)]),
                ],
            };
            [vec![0, 1, 0, 0], bytes_of(&message)].concat()
        };
        let ips = |text: &str| WireguardPeerAttribute::AllowedIps(vec![allowed_ip(&text.parse().unwrap())]);
        let time = netlink_packet_wireguard::WireguardTimeSpec { seconds: 990, nano_seconds: 0 };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut state = DeviceState::default();
        let first = vec![
            WireguardPeerAttribute::PublicKey([1; 32]),
            WireguardPeerAttribute::LastHandshake(time),
            WireguardPeerAttribute::RxBytes(5),
            WireguardPeerAttribute::PersistentKeepalive(25),
            ips("10.1.0.0/16"),
        ];
        state.take(&answer(first), now).unwrap();
        state.take(&answer(vec![WireguardPeerAttribute::PublicKey([1; 32]), ips("::/0")]), now).unwrap();
        assert_eq!(state.listen_port, 51840);
        assert_eq!(state.peers.len(), 1);
        assert_eq!((state.peers[0].received_bytes, state.peers[0].keepalive), (5, 25));
        assert_eq!(state.peers[0].handshake_age_ms, Some(10_000.0));
        let texts: Vec<_> = state.peers[0].allowed_ips.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.1.0.0/16", "::/0"]);
    }

    #[test]
    fn a_handshake_at_the_epoch_means_none_yet() {
        assert_eq!(age_ms(0, 0, SystemTime::now()), None);
    }

    #[test]
    fn changed_answers_are_refused_or_read_and_nothing_else() {
        let header = vec![0, 1, 0, 0];
        let answer =
            [header, bytes_of(&WireguardMessage { cmd: WireguardCmd::GetDevice, ..add_peer(7, &peer()) })].concat();
        let mut random = crate::hostile::Random::seeded();
        for _ in 0..crate::hostile::runs() {
            let bytes = random.changed(&answer);
            let mut state = DeviceState::default();
            let _ = state.take(&bytes, SystemTime::now());
            let ips: usize = state.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
            assert!(state.peers.len() * 4 <= bytes.len() && ips * 4 <= bytes.len());
        }
    }
}
