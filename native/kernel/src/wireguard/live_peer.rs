//! A peer of a device that runs: its keys and timers (gotatun's `Tunn`), where it is, what it has proved.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::WgKind;
use gotatun::x25519::{PublicKey, StaticSecret};
use ipnetwork::IpNetwork;

use super::peers::{Peer, PeerState};

pub struct LivePeer {
    pub public_key: [u8; 32],
    allowed_ips: Vec<IpNetwork>,
    state: Mutex<State>,
}

pub struct State {
    pub tunn: Tunn,
    /// The one that was configured, then that of the last authenticated packet.
    pub endpoint: Option<SocketAddr>,
    /// When the handshake happened with which the peer has proved that it knows the pre-shared key.
    proved: Option<Instant>,
    /// Our answer to an initiation: its session, and when. An initiation proves nothing of the pre-shared key.
    answered: Option<(u32, Instant)>,
}

impl LivePeer {
    pub fn new(peer: Peer, own: &StaticSecret, indices: &IndexTable, limiter: &Arc<RateLimiter>) -> Self {
        let tunn = Tunn::new(
            own.clone(),
            PublicKey::from(peer.public_key),
            Some(peer.preshared_key),
            (peer.keepalive != 0).then_some(peer.keepalive),
            indices.clone(),
            Arc::clone(limiter),
        );
        Self {
            public_key: peer.public_key,
            allowed_ips: peer.allowed_ips,
            state: Mutex::new(State { tunn, endpoint: peer.endpoint, proved: None, answered: None }),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the middle of a packet leaves counters that are still those of the packets seen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn report(&self, now: Instant) -> PeerState {
        let state = self.lock();
        let (_, sent, received, ..) = state.tunn.stats();
        PeerState {
            public_key: self.public_key,
            endpoint: state.endpoint,
            allowed_ips: self.allowed_ips.clone(),
            handshake_age_ms: state.proved.map(|at| now.duration_since(at).as_secs_f64() * 1000.0),
            received_bytes: received as u64,
            sent_bytes: sent as u64,
            keepalive: state.tunn.persistent_keepalive().unwrap_or(0),
        }
    }

    /// 0 sends none. Keys and timers of the session stay as they are.
    pub fn set_keepalive(&self, seconds: u16) {
        self.lock().tunn.set_persistent_keepalive((seconds != 0).then_some(seconds));
    }
}

/// What a packet would prove if it is genuine.
enum Claim {
    Nothing,
    /// An answer to our initiation, which mixes in the pre-shared key.
    Secret,
    /// Data for this session of ours.
    Session(u32),
}

impl State {
    /// Lets a packet that came from there act on the peer.
    pub fn receive(&mut self, packet: WgKind, from: SocketAddr) -> TunnResult {
        let claim = match &packet {
            WgKind::HandshakeInit(_) | WgKind::CookieReply(_) => Claim::Nothing,
            WgKind::HandshakeResp(_) => Claim::Secret,
            WgKind::Data(data) => Claim::Session(data.header.receiver_idx.get()),
        };
        let result = self.tunn.handle_incoming_packet(packet);
        let is_genuine = matches!(result, TunnResult::WriteToNetwork(_) | TunnResult::WriteToTunnel(_));
        if is_genuine {
            self.endpoint = Some(from);
            self.note(claim, &result);
        }
        result
    }

    fn note(&mut self, claim: Claim, result: &TunnResult) {
        match claim {
            Claim::Secret => {
                self.proved = Some(Instant::now());
                self.answered = None;
            }
            Claim::Session(index) => {
                if let Some((_, at)) = self.answered.take_if(|(session, _)| *session == index) {
                    self.proved = Some(at);
                }
            }
            Claim::Nothing => {
                if let TunnResult::WriteToNetwork(WgKind::HandshakeResp(answer)) = result {
                    self.answered = Some((answer.sender_idx.get(), Instant::now()));
                }
            }
        }
    }
}

/// The session of ours that a handshake message opens, by which the other side will address us.
pub fn opened_session(packet: &WgKind) -> Option<u32> {
    match packet {
        WgKind::HandshakeInit(packet) => Some(packet.sender_idx.get()),
        WgKind::HandshakeResp(packet) => Some(packet.sender_idx.get()),
        WgKind::CookieReply(_) | WgKind::Data(_) => None,
    }
}

/// The session of ours that data is addressed to.
pub fn session_of(datagram: &[u8]) -> Option<u32> {
    match datagram.first_chunk::<8>()? {
        [4, 0, 0, 0, index @ ..] => Some(u32::from_le_bytes(*index)),
        _ => None,
    }
}
