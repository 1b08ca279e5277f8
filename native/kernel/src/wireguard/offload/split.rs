//! Packets out of a frame of the TUN device. What is in a frame can come from any process of the host that may open a
//! raw or packet socket: every length is checked against the bytes that are there.

use bytes::BytesMut;

use super::checksum::{add, add_pseudo_header, finished};
use super::header::{Checksum, HEADER_BYTES, Header, Segmented, TCP_CHECKSUM, UDP_CHECKSUM};

/// A process could ask for segments of one byte, and have one system call cost as much as 65,000. TCP never goes below
/// 48 bytes of payload, UDP never above 128 segments.
const MOST_SEGMENTS: usize = 2048;
/// For the padding to sixteen bytes that WireGuard adds.
const ROOM_BEHIND: usize = 16;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const IS_FRAGMENT: u16 = 0x3fff;
const FIN_AND_PUSH: u8 = 0x09;
const CONGESTION_WINDOW_REDUCED: u8 = 0x80;

/// Hands out each packet of a frame, finished, in order. None: malformed, and nothing was handed out.
pub fn split(frame: &[u8], emit: &mut impl FnMut(BytesMut)) -> Option<()> {
    let (header, packet) = frame.split_first_chunk::<HEADER_BYTES>()?;
    match Header::parse(header)? {
        Header::Finished => emit(copy_of(packet, &[])),
        Header::Unsummed(checksum) => emit(summed(packet, checksum)?),
        Header::Super { segmented, size, checksum } => {
            let whole = SuperPacket::parse(packet, segmented, checksum)?;
            let count = whole.payload.len().div_ceil(size);
            if !(1..=MOST_SEGMENTS).contains(&count) {
                return None;
            }
            for (index, payload) in whole.payload.chunks(size).enumerate() {
                emit(whole.segment(payload, index, index * size, index + 1 == count));
            }
        }
    }
    Some(())
}

fn copy_of(headers: &[u8], payload: &[u8]) -> BytesMut {
    let mut into = BytesMut::with_capacity(headers.len() + payload.len() + ROOM_BEHIND);
    into.extend_from_slice(headers);
    into.extend_from_slice(payload);
    into
}

/// The kernel has put the pseudo header's sum where the checksum is to be.
fn summed(packet: &[u8], Checksum { start, offset }: Checksum) -> Option<BytesMut> {
    let at = start + offset;
    packet.get(at..at + 2)?;
    let sum = finished(add(0, &packet[start..]));
    let mut packet = copy_of(packet, &[]);
    // In UDP zero means that there is none; in TCP both forms of zero are valid.
    packet[at..at + 2].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
    Some(packet)
}

struct SuperPacket<'a> {
    /// IP and transport header.
    headers: &'a [u8],
    payload: &'a [u8],
    /// Where the transport header starts.
    transport: usize,
    is_v6: bool,
    is_tcp: bool,
}

impl<'a> SuperPacket<'a> {
    fn parse(packet: &'a [u8], segmented: Segmented, checksum: Checksum) -> Option<Self> {
        let is_v6 = match (packet.first()? >> 4, segmented) {
            (4, Segmented::Tcp4 | Segmented::Udp) => false,
            (6, Segmented::Tcp6 | Segmented::Udp) => true,
            _ => return None,
        };
        let is_tcp = segmented != Segmented::Udp;
        let transport = checksum.start;
        if is_v6 {
            let claimed = IPV6_HEADER + usize::from(word(packet, 4)?);
            // Extension headers may lie between; the kernel has walked them.
            if transport < IPV6_HEADER || claimed != packet.len() {
                return None;
            }
        } else {
            let claimed = usize::from(word(packet, 2)?);
            let length = usize::from(packet[0] & 0x0f) * 4;
            let protocol = if is_tcp { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP };
            if length < IPV4_HEADER
                || transport != length
                || claimed != packet.len()
                || word(packet, 6)? & IS_FRAGMENT != 0
                || i32::from(*packet.get(9)?) != protocol
            {
                return None;
            }
        }
        let (length, offset) = if is_tcp {
            (usize::from(packet.get(transport + 12)? >> 4) * 4, TCP_CHECKSUM)
        } else {
            (UDP_HEADER, UDP_CHECKSUM)
        };
        if checksum.offset != offset || (is_tcp && length < TCP_HEADER) {
            return None;
        }
        let (headers, payload) = packet.split_at_checked(transport + length)?;
        Some(Self { headers, payload, transport, is_v6, is_tcp })
    }

    fn segment(&self, payload: &[u8], index: usize, sent_before: usize, is_last: bool) -> BytesMut {
        let mut packet = copy_of(self.headers, payload);
        let total = packet.len();
        let (ip, transport) = packet.split_at_mut(self.transport);
        // No segment is longer than the whole, whose length had sixteen bits.
        let length = transport.len() as u16;
        let addresses = if self.is_v6 {
            put(ip, 4, (total - IPV6_HEADER) as u16);
            &ip[8..40]
        } else {
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(index as u16);
            put(ip, 2, total as u16);
            put(ip, 4, id);
            put(ip, 10, 0);
            let sum = finished(add(0, ip));
            ip[10..12].copy_from_slice(&sum);
            &ip[12..20]
        };
        let (protocol, at) = if self.is_tcp {
            let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            transport[4..8].copy_from_slice(&sequence.wrapping_add(sent_before as u32).to_be_bytes());
            if !is_last {
                transport[13] &= !FIN_AND_PUSH;
            }
            if index > 0 {
                transport[13] &= !CONGESTION_WINDOW_REDUCED;
            }
            (libc::IPPROTO_TCP as u8, TCP_CHECKSUM)
        } else {
            put(transport, 4, length);
            (libc::IPPROTO_UDP as u8, UDP_CHECKSUM)
        };
        put(transport, at, 0);
        let sum = finished(add(add_pseudo_header(addresses, protocol, length), transport));
        transport[at..at + 2].copy_from_slice(if sum == [0, 0] && !self.is_tcp { &[0xff, 0xff] } else { &sum });
        packet
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
