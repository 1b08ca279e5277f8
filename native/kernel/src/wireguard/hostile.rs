//! Datagrams of a stranger, and packets of a peer inside the tunnel: genuine ones, changed on the way.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use gotatun::noise::TunnResult;
use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519::{PublicKey, StaticSecret};

use super::inner_packet::{InnerPacket, destination_of};
use super::live_peer::{LivePeer, session_of};
use super::peers::Peer;
use crate::hostile::{Random, runs};

/// One end: what a device keeps of it and of its one peer.
struct End {
    private_key: StaticSecret,
    public_key: PublicKey,
    limiter: Arc<RateLimiter>,
    peer: LivePeer,
}

fn end(own: u8, other: u8) -> End {
    let private_key = StaticSecret::from([own; 32]);
    let public_key = PublicKey::from(&private_key);
    let limiter = Arc::new(RateLimiter::new(&public_key, 1_000_000));
    let peer = Peer {
        public_key: PublicKey::from(&StaticSecret::from([other; 32])).to_bytes(),
        preshared_key: [7; 32],
        endpoint: None,
        allowed_ips: Vec::new(),
        keepalive: 0,
    };
    let peer = LivePeer::new(peer, &private_key, &IndexTable::from_os_rng(), &limiter);
    End { private_key, public_key, limiter, peer }
}

impl End {
    /// As the device does it.
    fn receive(&self, datagram: &[u8]) -> Option<TunnResult> {
        session_of(datagram);
        let packet = self.limiter.verify_packet(from(), Packet::from_bytes(BytesMut::from(datagram))).ok()?;
        if let WgKind::HandshakeInit(packet) = &packet {
            let half = parse_handshake_anon(&self.private_key, &self.public_key, packet).ok()?;
            if half.peer_static_public != self.peer.public_key {
                return None;
            }
        }
        Some(self.peer.lock().receive(packet, from()))
    }

    fn send(&self, inner: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(inner));
        let sent = self.peer.lock().tunn.handle_outgoing_packet(packet, Some(&mut MtuWatcher::new(1420)));
        bytes_of(sent.expect("something leaves"))
    }
}

fn from() -> SocketAddr {
    "192.0.2.1:51840".parse().unwrap()
}

fn bytes_of(packet: WgKind) -> Vec<u8> {
    Packet::from(packet).to_vec()
}

/// The second code of a handshake message counts under load only, and nothing covers it before.
fn differs(changed: &[u8], handshake: &[u8]) -> bool {
    let covered = handshake.len() - 16;
    changed.len() != handshake.len() || changed[..covered] != handshake[..covered]
}

fn ping() -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet
}

#[test]
fn changed_datagrams_open_no_session_and_carry_nothing() {
    let mut random = Random::seeded();
    for _ in 0..runs() / 1_000 {
        let (initiator, responder) = (end(1, 2), end(2, 1));
        let init = initiator.send(&ping());
        for _ in 0..100 {
            let changed = random.changed(&init);
            if differs(&changed, &init) {
                let answered = matches!(responder.receive(&changed), Some(TunnResult::WriteToNetwork(_)));
                assert!(!answered, "a changed initiation is answered");
            }
        }
        let (initiator, responder) = (end(1, 2), end(2, 1));
        let Some(TunnResult::WriteToNetwork(response)) = responder.receive(&initiator.send(&ping())) else {
            panic!("an honest initiation is not answered")
        };
        let response = bytes_of(response);
        for _ in 0..100 {
            let changed = random.changed(&response);
            if differs(&changed, &response) {
                initiator.receive(&changed);
                assert!(initiator.peer.report(std::time::Instant::now()).handshake_age_ms.is_none());
            }
        }
        assert!(matches!(initiator.receive(&response), Some(TunnResult::WriteToNetwork(_))));
        let data = initiator.send(&ping());
        for _ in 0..100 {
            let changed = random.changed(&data);
            // Behind type and session everything is authenticated; the device itself looks the session up.
            if changed.get(8..) != data.get(8..) {
                let carried = matches!(responder.receive(&changed), Some(TunnResult::WriteToTunnel(_)));
                assert!(!carried, "changed data is carried");
            }
        }
        assert!(matches!(responder.receive(&data), Some(TunnResult::WriteToTunnel(_))));
        assert!(!matches!(responder.receive(&data), Some(TunnResult::WriteToTunnel(_))), "data is carried twice");
    }
}

#[test]
fn a_changed_inner_packet_is_never_longer_than_what_came() {
    let mut random = Random::seeded();
    for _ in 0..runs() {
        let mut packet = random.changed(&ping());
        if random.below(2) == 0 {
            packet = random.changed(&[vec![0x60, 0, 0, 0, 0, 8], vec![17; 42]].concat());
        }
        destination_of(&packet);
        if let Some(inner) = InnerPacket::parse(&packet) {
            assert!(packet.starts_with(inner.bytes) && inner.bytes.len() >= 20);
            assert_eq!(inner.source.is_ipv4(), packet[0] >> 4 == 4);
        }
    }
}
