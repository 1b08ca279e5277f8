//! One TCP super-packet out of consecutive segments of one stream, as the kernel's own receive offload makes them. Only
//! what can be taken apart again into the same bytes is joined, and only with a valid checksum: the kernel does not
//! look at the checksum of a super-packet, so a damaged segment must not become a part of one.

use super::checksum::{add, add_pseudo_header, finished, folded, is_intact};
use super::header::{Checksum, HEADER_BYTES, Header, TCP_CHECKSUM};

/// Of an IP packet; IPv6 does not count its own header, which only leaves room here.
const LONGEST: usize = 65_535;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const TCP: u8 = libc::IPPROTO_TCP as u8;
const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;
const DO_NOT_FRAGMENT: u8 = 0x40;

/// Where frames go: the header of the TUN device, and the packet behind it.
pub trait Sink {
    fn write(&mut self, header: &[u8; HEADER_BYTES], packet: &[u8]);
}

/// Keeps the order of everything it is given. Holds back one super-packet until `flush`.
#[derive(Default)]
pub struct Coalescer {
    packet: Vec<u8>,
    open: Option<Open>,
}

/// What is known of the packet held back.
#[derive(Clone, Copy)]
struct Open {
    first: Segment,
    /// How many have been joined.
    count: u16,
    next_sequence: u32,
    /// Nothing may follow a segment that is shorter than the first or has PUSH.
    is_complete: bool,
}

/// A segment that may be joined with others.
#[derive(Clone, Copy)]
struct Segment {
    is_v6: bool,
    /// Bytes of the IP header, of both headers, of the payload.
    transport: usize,
    headers: usize,
    payload: usize,
    sequence: u32,
    is_pushed: bool,
}

impl Coalescer {
    pub fn push(&mut self, packet: &[u8], sink: &mut impl Sink) {
        let Some(segment) = Segment::parse(packet) else {
            self.flush(sink);
            sink.write(&[0; HEADER_BYTES], packet);
            return;
        };
        if let Some(open) = &mut self.open
            && open.takes(&self.packet, &segment, packet)
        {
            self.packet.extend_from_slice(&packet[segment.headers..]);
            open.count += 1;
            open.next_sequence = segment.sequence.wrapping_add(segment.payload as u32);
            open.is_complete = segment.is_pushed || segment.payload < open.first.payload;
            if segment.is_pushed {
                self.packet[segment.transport + 13] |= PUSH;
            }
            return;
        }
        self.flush(sink);
        self.packet.extend_from_slice(packet);
        self.open = Some(Open {
            first: segment,
            count: 1,
            next_sequence: segment.sequence.wrapping_add(segment.payload as u32),
            is_complete: segment.is_pushed,
        });
    }

    pub fn flush(&mut self, sink: &mut impl Sink) {
        let Some(open) = self.open.take() else { return };
        if open.count == 1 {
            sink.write(&[0; HEADER_BYTES], &self.packet);
        } else {
            let header = open.first.finish(&mut self.packet);
            sink.write(&header, &self.packet);
        }
        self.packet.clear();
    }
}

impl Open {
    fn takes(&self, held: &[u8], segment: &Segment, packet: &[u8]) -> bool {
        let first = &self.first;
        !self.is_complete
            && segment.is_v6 == first.is_v6
            && segment.headers == first.headers
            && segment.sequence == self.next_sequence
            && segment.payload <= first.payload
            && held.len() + segment.payload <= LONGEST
            && self.same_ip_header(held, packet)
            && same_tcp_header(&held[first.transport..first.headers], &packet[first.transport..first.headers])
    }

    fn same_ip_header(&self, held: &[u8], packet: &[u8]) -> bool {
        if self.first.is_v6 {
            return held[..4] == packet[..4] && held[6..IPV6_HEADER] == packet[6..IPV6_HEADER];
        }
        let id = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
        // Where fragments cannot be, the identification means nothing (RFC 6864 §4.1).
        let follows = held[6] & DO_NOT_FRAGMENT != 0 || id(packet) == id(held).wrapping_add(self.count);
        follows
            && held[..2] == packet[..2]
            && held[6..10] == packet[6..10]
            && held[12..IPV4_HEADER] == packet[12..IPV4_HEADER]
    }
}

/// Ports, acknowledgement, length, window, urgent pointer and options; flags differ in PUSH at most.
fn same_tcp_header(held: &[u8], header: &[u8]) -> bool {
    held[..4] == header[..4]
        && held[8..13] == header[8..13]
        && held[14..16] == header[14..16]
        && held[18..] == header[18..]
}

impl Segment {
    fn parse(packet: &[u8]) -> Option<Self> {
        let is_v6 = match packet.first()? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let transport = if is_v6 { IPV6_HEADER } else { IPV4_HEADER };
        let fixed = packet.get(..transport + TCP_HEADER)?;
        let word = |at: usize| usize::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
        let is_plain = if is_v6 {
            fixed[6] == TCP && IPV6_HEADER + word(4) == packet.len()
        } else {
            fixed[0] == 0x45
                && word(2) == packet.len()
                && word(6) & 0xbfff == 0
                && fixed[9] == TCP
                && is_intact(add(0, &fixed[..IPV4_HEADER]))
        };
        let headers = transport + usize::from(fixed[transport + 12] >> 4) * 4;
        let flags = fixed[transport + 13];
        if !is_plain
            || flags & !PUSH != ACK
            || fixed[transport + 12] & 0x0f != 0
            || headers < transport + TCP_HEADER
            || headers >= packet.len()
            || packet.len() > LONGEST
        {
            return None;
        }
        let addresses = if is_v6 { &packet[8..40] } else { &packet[12..20] };
        let length = (packet.len() - transport) as u16;
        if !is_intact(add(add_pseudo_header(addresses, TCP, length), &packet[transport..])) {
            return None;
        }
        Some(Self {
            is_v6,
            transport,
            headers,
            payload: packet.len() - headers,
            sequence: word_32(packet, transport + 4),
            is_pushed: flags & PUSH != 0,
        })
    }

    /// Makes lengths and checksums those of the whole `packet`.
    fn finish(&self, packet: &mut [u8]) -> [u8; HEADER_BYTES] {
        let total = packet.len();
        let length = (total - self.transport) as u16;
        let addresses = if self.is_v6 {
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            8..40
        } else {
            packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = finished(add(0, &packet[..IPV4_HEADER]));
            packet[10..12].copy_from_slice(&sum);
            12..20
        };
        let partial = folded(add_pseudo_header(&packet[addresses], TCP, length));
        let at = self.transport + TCP_CHECKSUM;
        packet[at..at + 2].copy_from_slice(&partial);
        let checksum = Checksum { start: self.transport, offset: TCP_CHECKSUM };
        Header::of_tcp(self.is_v6, self.headers, self.payload, checksum)
    }
}

fn word_32(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}
