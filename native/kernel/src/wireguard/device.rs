//! An embedded WireGuard device: gotatun's handshakes, keys and timers between our TUN device and our UDP socket.
//!
//! gotatun's own device moves packets one by one through three queues a direction. Here a burst is one piece of work: what
//! the kernel hands over in one call is encrypted, or decrypted, and handed on in one call.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gotatun::noise::TunnResult;
use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519::{PublicKey, StaticSecret};
use tokio::task::JoinHandle;

use super::inner_packet::{InnerPacket, destination_of};
use super::live_peer::{LivePeer, State, opened_session, session_of};
use super::offload::HEADER_BYTES;
use super::offload::coalesce::Coalescer;
use super::offload::split::split;
use super::peers::{Peer, PeerState};
use super::routing::Routes;
use super::tun::{LONGEST_FRAME, Tun, Writer, is_removed};
use super::udp::{Outgoing, Received, Socket};
use crate::errors::Result;

/// As other implementations: beyond it initiators must answer a cookie first.
const HANDSHAKES_A_SECOND: u64 = 100;
const FEW_CORES: usize = 2;
const TIMER_TICK: Duration = Duration::from_millis(250);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);
/// System calls taken together before what they gave is handed on; a lone packet never waits for a second one.
const MOST_READS: usize = 16;
const MOST_PACKETS: usize = 128;

pub struct Device {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    tun: Tun,
    socket: Socket,
    private_key: StaticSecret,
    public_key: PublicKey,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
    mtu: MtuWatcher,
    /// Read for the length of a burst, so that whoever removed a peer knows that no packet of it is under way.
    peers: RwLock<Peers>,
    /// By the index that the other side addresses us with. Locked for a look-up only, after `peers`.
    sessions: Mutex<HashMap<u32, Arc<LivePeer>>>,
}

#[derive(Default)]
struct Peers {
    by_key: HashMap<[u8; 32], Arc<LivePeer>>,
    by_address: Routes<Arc<LivePeer>>,
}

impl Device {
    /// Must be called inside the runtime.
    pub fn start(fd: OwnedFd, mtu: u16, socket: Socket, private_key: StaticSecret) -> Result<Self> {
        let public_key = PublicKey::from(&private_key);
        let shared = Arc::new(Shared {
            tun: Tun::new(fd)?,
            socket,
            limiter: Arc::new(RateLimiter::new(&public_key, HANDSHAKES_A_SECOND)),
            private_key,
            public_key,
            indices: IndexTable::from_os_rng(),
            mtu: MtuWatcher::new(mtu),
            peers: RwLock::default(),
            sessions: Mutex::default(),
        });
        let (outgoing, incoming) = (send_from_tun(Arc::clone(&shared)), receive_to_tun(Arc::clone(&shared)));
        let mut tasks = vec![tokio::spawn(tick(Arc::clone(&shared)))];
        // Both directions of a peer need its keys. Where cores are few, two threads that wait for one another cost a tenth
        // of all CPU time; where there are more, each direction may have one.
        if std::thread::available_parallelism().map_or(1, usize::from) <= FEW_CORES {
            tasks.push(tokio::spawn(async { _ = tokio::join!(outgoing, incoming) }));
        } else {
            tasks.extend([tokio::spawn(outgoing), tokio::spawn(incoming)]);
        }
        Ok(Self { shared, tasks })
    }

    /// Whether its key was free.
    pub fn add_peer(&self, peer: Peer) -> bool {
        let shared = &self.shared;
        let mut peers = shared.peers_for_change();
        if peers.by_key.contains_key(&peer.public_key) {
            return false;
        }
        let allowed_ips = peer.allowed_ips.clone();
        let peer = Arc::new(LivePeer::new(peer, &shared.private_key, &shared.indices, &shared.limiter));
        for network in allowed_ips {
            peers.by_address.insert(network, Arc::clone(&peer));
        }
        peers.by_key.insert(peer.public_key, peer);
        true
    }

    /// How many of them were there. No packet of theirs moves after this.
    pub fn remove_peers(&self, public_keys: &[[u8; 32]]) -> usize {
        let mut peers = self.shared.peers_for_change();
        let removed: HashSet<_> =
            public_keys.iter().filter_map(|key| peers.by_key.remove(key)).map(|peer| Arc::as_ptr(&peer)).collect();
        if !removed.is_empty() {
            peers.by_address.retain(|peer| !removed.contains(&Arc::as_ptr(peer)));
            self.shared.sessions().retain(|_, peer| !removed.contains(&Arc::as_ptr(peer)));
        }
        removed.len()
    }

    /// How many of them were there.
    pub fn set_keepalive(&self, public_keys: &[[u8; 32]], seconds: u16) -> usize {
        let peers = self.shared.peers();
        let found = public_keys.iter().filter_map(|key| peers.by_key.get(key));
        found.map(|peer| peer.set_keepalive(seconds)).count()
    }

    pub fn remove_all_peers(&self) {
        let mut peers = self.shared.peers_for_change();
        *peers = Peers::default();
        self.shared.sessions().clear();
    }

    pub fn states(&self) -> Vec<PeerState> {
        let now = Instant::now();
        self.shared.peers().by_key.values().map(|peer| peer.report(now)).collect()
    }

    /// Returns when no task is left that holds the descriptors.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

impl Shared {
    // A panic in one task must not make the peers unreachable for the others.
    fn peers(&self) -> RwLockReadGuard<'_, Peers> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_for_change(&self) -> RwLockWriteGuard<'_, Peers> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u32, Arc<LivePeer>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_session(&self, packet: &WgKind, peer: &Arc<LivePeer>) {
        if let Some(index) = opened_session(packet) {
            self.sessions().insert(index, Arc::clone(peer));
        }
    }

    /// All packets of a frame have one destination. The peer is locked once for them: it is the same lock that the other
    /// direction waits for, and handing it over costs more than a packet.
    fn encrypt(&self, peers: &Peers, frame: &[u8], out: &mut Outgoing) {
        let destination = frame.get(HEADER_BYTES..).and_then(destination_of);
        let Some(peer) = destination.and_then(|address| peers.by_address.find(address)) else { return };
        let mut state = peer.lock();
        let Some(endpoint) = state.endpoint else { return };
        let mut mtu = self.mtu.clone();
        split(frame, &mut |packet| {
            if let Some(packet) = state.tunn.handle_outgoing_packet(Packet::from_bytes(packet), Some(&mut mtu)) {
                self.remember_session(&packet, peer);
                out.push((packet.into(), endpoint));
            }
        });
    }

    fn decrypt(&self, peers: &Peers, received: Received, burst: &mut Burst<'_>) {
        let from = received.from;
        let mut datagrams = received.datagrams().peekable();
        while let Some(first) = datagrams.next() {
            let session = session_of(&first);
            let Some(packet) = self.verified(first, from, burst) else { continue };
            let Some(peer) = self.sender_of(peers, &packet) else { continue };
            let mut state = peer.lock();
            self.take(peers, &peer, &mut state, packet, from, burst);
            let is_of_session = |datagram: &BytesMut| session.is_some() && session_of(datagram) == session;
            while let Some(datagram) = datagrams.next_if(is_of_session) {
                if let Some(packet) = self.verified(datagram, from, burst) {
                    self.take(peers, &peer, &mut state, packet, from, burst);
                }
            }
        }
    }

    /// Answers with a cookie where there are too many handshakes.
    fn verified(&self, datagram: BytesMut, from: SocketAddr, burst: &mut Burst<'_>) -> Option<WgKind> {
        match self.limiter.verify_packet(from, Packet::from_bytes(datagram)) {
            Ok(packet) => Some(packet),
            Err(TunnResult::WriteToNetwork(cookie)) => {
                burst.answers.push((cookie.into(), from));
                None
            }
            Err(_) => None,
        }
    }

    fn take(
        &self,
        peers: &Peers,
        peer: &Arc<LivePeer>,
        state: &mut State,
        packet: WgKind,
        from: SocketAddr,
        burst: &mut Burst<'_>,
    ) {
        match state.receive(packet, from) {
            TunnResult::Done | TunnResult::Err(_) => {}
            TunnResult::WriteToNetwork(packet) => {
                self.remember_session(&packet, peer);
                burst.answers.push((packet.into(), from));
                let mut mtu = self.mtu.clone();
                for packet in state.tunn.get_queued_packets(&mut mtu) {
                    self.remember_session(&packet, peer);
                    burst.answers.push((packet.into(), from));
                }
            }
            TunnResult::WriteToTunnel(packet) => {
                // An empty one is a keepalive.
                let Some(inner) = InnerPacket::parse(&packet) else { return };
                // A peer may only speak as those whom we would reach through it.
                if peers.by_address.find(inner.source).is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
                    burst.coalescer.push(inner.bytes, &mut burst.writer);
                }
            }
        }
    }

    fn sender_of(&self, peers: &Peers, packet: &WgKind) -> Option<Arc<LivePeer>> {
        let session = match packet {
            WgKind::HandshakeInit(packet) => {
                let half = parse_handshake_anon(&self.private_key, &self.public_key, packet).ok()?;
                return peers.by_key.get(&half.peer_static_public).cloned();
            }
            WgKind::HandshakeResp(packet) => packet.receiver_idx.get(),
            WgKind::CookieReply(packet) => packet.receiver_idx.get(),
            WgKind::Data(packet) => packet.header.receiver_idx.get(),
        };
        self.sessions().get(&session).cloned()
    }

    /// Keepalives, handshakes that are due, and the end of what is too old.
    fn due(&self) -> Outgoing {
        let peers = self.peers();
        self.sessions().retain(|index, _| self.indices.in_use(*index));
        self.limiter.try_reset_count();
        let mut out = Outgoing::new();
        for peer in peers.by_key.values() {
            let mut state = peer.lock();
            let Some(endpoint) = state.endpoint else { continue };
            if let Ok(Some(packet)) = state.tunn.update_timers() {
                self.remember_session(&packet, peer);
                out.push((packet.into(), endpoint));
            }
        }
        out
    }
}

/// What one burst of datagrams leads to.
struct Burst<'a> {
    answers: &'a mut Outgoing,
    coalescer: &'a mut Coalescer,
    writer: Writer<'a>,
}

async fn send_from_tun(shared: Arc<Shared>) {
    let mut frame = vec![0; LONGEST_FRAME];
    let mut out = Outgoing::new();
    loop {
        let outcome = match shared.tun.readable().await {
            Ok(()) => read_burst(&shared, &mut frame, &mut out),
            Err(error) => Err(error),
        };
        shared.socket.send(&mut out).await;
        match outcome {
            Err(error) if is_removed(&error) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
            Err(_) | Ok(()) => {}
        }
    }
}

fn read_burst(shared: &Shared, frame: &mut [u8], out: &mut Outgoing) -> std::io::Result<()> {
    let peers = shared.peers();
    for _ in 0..MOST_READS {
        let length = shared.tun.try_read(frame)?;
        shared.encrypt(&peers, &frame[..length], out);
        if out.len() >= MOST_PACKETS {
            break;
        }
    }
    Ok(())
}

async fn receive_to_tun(shared: Arc<Shared>) {
    let mut buffer = BytesMut::new();
    let mut coalescer = Coalescer::default();
    let mut answers = Outgoing::new();
    loop {
        let outcome = match shared.socket.readable().await {
            Ok(()) => receive_burst(&shared, &mut buffer, &mut coalescer, &mut answers),
            Err(error) => Err(error),
        };
        shared.socket.send(&mut answers).await;
        match outcome {
            Err(error) if is_removed(&error) => return,
            // A passing error (no memory) must not end a tunnel.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
            Err(_) | Ok(()) => {}
        }
    }
}

fn receive_burst(
    shared: &Shared,
    buffer: &mut BytesMut,
    coalescer: &mut Coalescer,
    answers: &mut Outgoing,
) -> std::io::Result<()> {
    let peers = shared.peers();
    let mut burst = Burst { answers, coalescer, writer: Writer::new(&shared.tun) };
    let mut outcome = Ok(());
    for _ in 0..MOST_READS {
        match shared.socket.try_receive(buffer) {
            Ok(received) => shared.decrypt(&peers, received, &mut burst),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    burst.coalescer.flush(&mut burst.writer);
    if burst.writer.is_removed {
        return Err(std::io::Error::from_raw_os_error(libc::EBADFD));
    }
    outcome
}

async fn tick(shared: Arc<Shared>) {
    loop {
        let mut out = shared.due();
        shared.socket.send(&mut out).await;
        tokio::time::sleep(TIMER_TICK).await;
    }
}
