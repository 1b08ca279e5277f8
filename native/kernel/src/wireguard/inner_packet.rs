//! The IP packet inside the tunnel, as far as WireGuard looks into it. What a peer sent is hostile until it is parsed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

pub struct InnerPacket<'a> {
    pub source: IpAddr,
    /// Without the padding that WireGuard adds.
    pub bytes: &'a [u8],
}

impl<'a> InnerPacket<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (source, length) = match bytes.first()? >> 4 {
            4 => {
                let header = bytes.first_chunk::<IPV4_HEADER>()?;
                let own = usize::from(header[0] & 0x0f) * 4;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                if own < IPV4_HEADER || length < own {
                    return None;
                }
                (v4(header, 12), length)
            }
            6 => {
                let header = bytes.first_chunk::<IPV6_HEADER>()?;
                (v6(header, 8), IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]])))
            }
            _ => return None,
        };
        Some(Self { source, bytes: bytes.get(..length)? })
    }
}

pub fn destination_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.first()? >> 4 {
        4 => Some(v4(bytes.first_chunk()?, 16)),
        6 => Some(v6(bytes.first_chunk()?, 24)),
        _ => None,
    }
}

fn v4(header: &[u8; IPV4_HEADER], at: usize) -> IpAddr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
}

fn v6(header: &[u8; IPV6_HEADER], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_v4(first: u8, length: u16, size: usize) -> Vec<u8> {
        let mut packet = vec![0; size];
        packet[0] = first;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet
    }

    #[test]
    fn padding_is_cut_off_and_the_addresses_are_found() {
        let packet = packet_v4(0x45, 30, 32);
        let inner = InnerPacket::parse(&packet).unwrap();
        assert_eq!((inner.source, inner.bytes.len()), ("10.0.0.1".parse().unwrap(), 30));
        assert_eq!(destination_of(&packet), Some("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_peer_that_lies_about_lengths_is_not_believed() {
        for packet in [
            packet_v4(0x45, 33, 32),
            packet_v4(0x45, 19, 32),
            packet_v4(0x44, 32, 32),
            packet_v4(0x4f, 59, 64),
            packet_v4(0x60, 0, 39),
            packet_v4(0x55, 32, 32),
        ] {
            assert!(InnerPacket::parse(&packet).is_none());
        }
        for length in 0..20 {
            assert!(InnerPacket::parse(&packet_v4(0x45, 20, 20)[..length]).is_none());
            assert!(destination_of(&packet_v4(0x45, 20, 20)[..length]).is_none());
        }
    }
}
