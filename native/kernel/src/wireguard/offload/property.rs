//! Splitting and coalescing against each other and against checksums, on random streams and on hostile bytes. The seed
//! is fixed; `OFFLOAD_SEED` sets another.

use super::HEADER_BYTES;
use super::checksum::{add, add_pseudo_header, finished, folded, is_intact};
use super::coalesce::{Coalescer, Sink};
use super::split::split;

/// Frames as the TUN device would be given them.
#[derive(Default)]
struct Frames(Vec<Vec<u8>>);

impl Sink for Frames {
    fn write(&mut self, header: &[u8; HEADER_BYTES], packet: &[u8]) {
        self.0.push([header.as_slice(), packet].concat());
    }
}

fn coalesced(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut coalescer, mut frames) = (Coalescer::default(), Frames::default());
    for packet in packets {
        coalescer.push(packet, &mut frames);
    }
    coalescer.flush(&mut frames);
    frames.0
}

fn parts(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    split(frame, &mut |packet| packets.push(packet.to_vec())).map(|()| packets)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("OFFLOAD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed);
        println!("OFFLOAD_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[derive(Clone)]
struct Stream {
    is_v6: bool,
    port: u16,
    sequence: u32,
    id: u16,
    acknowledged: u8,
    options: Vec<u8>,
}

const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;

impl Stream {
    fn random(random: &mut Random) -> Self {
        let options = if random.one_in(2) { [vec![1, 1, 8, 10], random.bytes(8)].concat() } else { Vec::new() };
        Self {
            is_v6: random.one_in(2),
            port: random.next() as u16,
            sequence: random.next() as u32,
            id: random.next() as u16,
            acknowledged: 0,
            options,
        }
    }

    fn packet(&mut self, payload: &[u8], flags: u8) -> Vec<u8> {
        let mut tcp = [self.port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend([0, 0, 0, self.acknowledged, ((20 + self.options.len()) / 4 * 16) as u8, flags, 1, 0, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend(payload);
        let ip = if self.is_v6 { ipv6(6, tcp.len()) } else { ipv4(6, tcp.len(), self.id) };
        self.id = self.id.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        let sum = finished(add(add_pseudo_header(addresses_of(&ip), 6, tcp.len() as u16), &tcp));
        tcp[16..18].copy_from_slice(&sum);
        [ip, tcp].concat()
    }
}

fn ipv4(protocol: u8, payload: usize, id: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    let sum = finished(add(0, &ip));
    ip[10..12].copy_from_slice(&sum);
    ip
}

fn ipv6(protocol: u8, payload: usize) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    ip[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    ip.extend([[0xfd; 16], [0xfe; 16]].concat());
    ip
}

fn addresses_of(ip: &[u8]) -> &[u8] {
    if ip[0] >> 4 == 6 { &ip[8..40] } else { &ip[12..20] }
}

/// The wire bytes: every length and checksum right.
fn assert_whole(packet: &[u8]) {
    let (header, protocol) = if packet[0] >> 4 == 6 {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, packet.len());
        (40, packet[6])
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert!(is_intact(add(0, &packet[..20])), "IPv4 header checksum");
        (20, packet[9])
    };
    let transport = &packet[header..];
    let pseudo = add_pseudo_header(addresses_of(packet), protocol, transport.len() as u16);
    assert!(is_intact(add(pseudo, transport)), "transport checksum");
}

#[test]
fn what_is_coalesced_and_split_again_is_the_same_packets_in_the_same_order() {
    let mut random = Random::seeded();
    let mut joined = 0;
    for _ in 0..400 {
        let mut streams: Vec<Stream> = (0..1 + random.below(3)).map(|_| Stream::random(&mut random)).collect();
        let mut packets = Vec::new();
        while packets.len() < 120 {
            let chosen = random.below(streams.len());
            let stream = &mut streams[chosen];
            let size = [1, 100, 536, 1368, 1400, 1448][random.below(6)];
            for _ in 0..1 + random.below(60) {
                let length = if random.one_in(12) { random.below(size + 1) } else { size };
                let flags = if random.one_in(15) {
                    ACK | PUSH
                } else if random.one_in(40) {
                    ACK | FIN
                } else {
                    ACK
                };
                if random.one_in(30) {
                    // A loss on the way.
                    stream.sequence = stream.sequence.wrapping_add(size as u32);
                }
                if random.one_in(20) {
                    stream.acknowledged = stream.acknowledged.wrapping_add(1);
                }
                let payload = random.bytes(length);
                let mut packet = stream.packet(&payload, flags);
                if random.one_in(25) {
                    // Damage on the way: whatever it hits, the packet stays as damaged as it is.
                    let at = random.below(packet.len());
                    packet[at] ^= 1 << random.below(8);
                }
                packets.push(packet);
            }
        }
        let frames = coalesced(&packets);
        joined += packets.len() - frames.len();
        let again: Vec<Vec<u8>> = frames.iter().flat_map(|frame| parts(frame).expect("our own frame")).collect();
        assert!(again == packets, "a stream did not survive");
    }
    assert!(joined > 10_000, "only {joined} packets were joined with another");
}

#[test]
fn a_stream_of_full_segments_becomes_as_few_frames_as_their_length_allows() {
    let mut stream =
        Stream { is_v6: false, port: 1, sequence: u32::MAX - 9, id: 65_530, acknowledged: 1, options: Vec::new() };
    let packets: Vec<Vec<u8>> = (0..94).map(|_| stream.packet(&[7; 1380], ACK)).collect();
    let frames = coalesced(&packets);
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.len() <= HEADER_BYTES + 65_535));
}

#[test]
fn a_segment_whose_checksum_is_wrong_is_handed_on_alone_and_unchanged() {
    let mut stream = Stream { is_v6: true, port: 1, sequence: 0, id: 0, acknowledged: 1, options: Vec::new() };
    let mut packets: Vec<Vec<u8>> = (0..3).map(|_| stream.packet(&[7; 1000], ACK)).collect();
    packets[1][500] ^= 1;
    let frames = coalesced(&packets);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[1], [vec![0; HEADER_BYTES], packets[1].clone()].concat());
}

/// A frame as the kernel makes it: lengths of the whole, the checksum field holding the pseudo header's sum.
fn super_frame(kind: u8, size: u16, mut ip: Vec<u8>, transport: Vec<u8>, offset: u16) -> Vec<u8> {
    let protocol = if kind == 5 { 17 } else { 6 };
    let start = ip.len();
    let partial = folded(add_pseudo_header(addresses_of(&ip), protocol, transport.len() as u16));
    ip.extend(transport);
    let at = start + usize::from(offset);
    ip[at..at + 2].copy_from_slice(&partial);
    let mut frame = vec![1, kind, 0, 0];
    for word in [size, start as u16, offset] {
        frame.extend(word.to_ne_bytes());
    }
    frame.extend(ip);
    frame
}

#[test]
fn a_tcp_super_packet_gives_valid_segments_and_only_the_last_ends_the_stream() {
    for (kind, is_v6) in [(1, false), (4, true)] {
        let mut tcp = vec![0; 32];
        tcp[4..8].copy_from_slice(&(u32::MAX - 100).to_be_bytes());
        (tcp[12], tcp[13]) = (0x80, 0x80 | ACK | PUSH | FIN);
        let payload: Vec<u8> = (0..5000_usize).map(|n| n as u8).collect();
        tcp.extend(&payload);
        let ip = if is_v6 { ipv6(6, tcp.len()) } else { ipv4(6, tcp.len(), 65_535) };
        let header = ip.len();
        let packets = parts(&super_frame(kind, 1400, ip, tcp, 16)).unwrap();
        assert_eq!(
            packets.iter().map(|packet| packet.len() - header - 32).collect::<Vec<_>>(),
            [1400, 1400, 1400, 800]
        );
        let flags: Vec<u8> = packets.iter().map(|packet| packet[header + 13]).collect();
        assert_eq!(flags, [0x80 | ACK, ACK, ACK, ACK | PUSH | FIN]);
        let mut again: Vec<u8> = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            assert_whole(packet);
            let sequence = u32::from_be_bytes(packet[header + 4..header + 8].try_into().unwrap());
            assert_eq!(sequence, (u32::MAX - 100).wrapping_add(1400 * index as u32));
            if !is_v6 {
                assert_eq!(u16::from_be_bytes([packet[4], packet[5]]), 65_535_u16.wrapping_add(index as u16));
            }
            again.extend(&packet[header + 32..]);
        }
        assert!(again == payload);
    }
}

#[test]
fn a_udp_super_packet_gives_datagrams_with_their_own_lengths() {
    for is_v6 in [false, true] {
        let udp = [vec![0, 7, 0, 9, 0, 0, 0, 0], vec![0x55; 2500]].concat();
        let ip = if is_v6 { ipv6(17, udp.len()) } else { ipv4(17, udp.len(), 1) };
        let header = ip.len();
        let packets = parts(&super_frame(5, 1000, ip, udp, 6)).unwrap();
        let lengths: Vec<u16> =
            packets.iter().map(|packet| u16::from_be_bytes([packet[header + 4], packet[header + 5]])).collect();
        assert_eq!(lengths, [1008, 1008, 508]);
        packets.iter().for_each(|packet| assert_whole(packet));
    }
}

#[test]
fn a_packet_without_its_checksum_gets_it() {
    let udp = [vec![0, 7, 0, 9, 0, 13, 0, 0], b"hello".to_vec()].concat();
    let mut frame = super_frame(5, 0, ipv4(17, udp.len(), 1), udp, 6);
    frame[1] = 0;
    let packets = parts(&frame).unwrap();
    assert_eq!(packets.len(), 1);
    assert_whole(&packets[0]);
}

#[test]
fn a_frame_that_asks_for_more_segments_than_any_kernel_makes_is_dropped() {
    let tcp = [vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, ACK, 0, 0, 0, 0, 0, 0], vec![1; 60_000]].concat();
    let frame = |size| super_frame(1, size, ipv4(6, tcp.len(), 1), tcp.clone(), 16);
    assert!(parts(&frame(1)).is_none());
    assert!(parts(&frame(0)).is_none());
    assert_eq!(parts(&frame(48)).unwrap().len(), 1250);
}

#[test]
fn a_super_packet_whose_ip_header_tells_another_length_is_dropped() {
    for (kind, length_at) in [(1, 2), (4, 4)] {
        let tcp = [vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, ACK, 0, 0, 0, 0, 0, 0], vec![1; 3000]].concat();
        let ip = if kind == 4 { ipv6(6, tcp.len()) } else { ipv4(6, tcp.len(), 1) };
        let frame = super_frame(kind, 1000, ip, tcp, 16);
        assert_eq!(parts(&frame).unwrap().len(), 3);
        for lie in [0_u16, 20, 2999, 3021, 65_535] {
            let mut frame = frame.clone();
            frame[HEADER_BYTES + length_at..HEADER_BYTES + length_at + 2].copy_from_slice(&lie.to_be_bytes());
            assert!(parts(&frame).is_none());
        }
    }
}

#[test]
fn frames_that_lie_never_panic_and_never_give_more_bytes_than_they_could() {
    let mut random = Random::seeded();
    let mut stream = Stream { is_v6: false, port: 1, sequence: 1, id: 1, acknowledged: 1, options: vec![1; 12] };
    let mut given = 0;
    for round in 0..200_000 {
        stream.is_v6 = round % 2 == 0;
        let payload = random.below(300);
        let payload = random.bytes(payload);
        let mut frame = [vec![0; HEADER_BYTES], stream.packet(&payload, ACK)].concat();
        let start = if stream.is_v6 { 40_u16 } else { 20 };
        frame[..2].copy_from_slice(&[1, [0, 1, 4, 5][random.below(4)]]);
        frame[4..6].copy_from_slice(&(random.below(200) as u16).to_ne_bytes());
        frame[6..8].copy_from_slice(&start.to_ne_bytes());
        frame[8..10].copy_from_slice(&[16_u16, 6][random.below(2)].to_ne_bytes());
        for _ in 0..random.below(4) {
            let end = if random.one_in(2) { HEADER_BYTES } else { 70.min(frame.len()) };
            let at = random.below(end);
            frame[at] = random.next() as u8;
        }
        if random.one_in(5) {
            frame.truncate(random.below(frame.len() + 1));
        }
        if let Some(packets) = parts(&frame) {
            given += packets.len();
            assert!(packets.iter().all(|packet| packet.len() <= frame.len()));
        }
        if let Some(packet) = frame.get(HEADER_BYTES..) {
            assert_eq!(coalesced(&[packet.to_vec()]).len(), 1);
        }
    }
    assert!(given > 100_000, "the frames were refused too early: {given}");
}
