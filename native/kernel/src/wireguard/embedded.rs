//! WireGuard in this process, on gotatun. For hosts whose kernel has none.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gotatun::device::{Device, DeviceBuilder, Peer as GotatunPeer};
use gotatun::x25519::{PublicKey, StaticSecret};
use napi::bindgen_prelude::Object;
use napi::Env;
use napi_derive::napi;
use tokio::sync::RwLock;

use super::peers::{key, Peer, PeerRow, PeerState, PeerStateRow};
use super::tun::{self, Tun};
use super::uapi::{self, ControlSocket, Status};
use super::udp::{Origin, ReusedSocket};
use crate::background::{promise, promise_blocking, runtime};
use crate::ebpf::inside::Inside;
use crate::errors::{KernelError, Result};
use crate::netlink::links;
use crate::netlink::socket::Netlink;

/// A device that runs, and when each of its peers last proved in a handshake that it knows the pre-shared key.
struct Running {
    device: Device<(ReusedSocket, Tun, Tun)>,
    /// Locked around removals too, or a reader could keep what a removed peer proved for the one added after it.
    proved: tokio::sync::Mutex<HashMap<[u8; 32], Instant>>,
}

#[napi]
pub struct EmbeddedTunnel {
    device: Arc<RwLock<Option<Running>>>,
    control: Mutex<Option<ControlSocket>>,
    /// Bound to the namespace the link is in.
    netlink: Arc<Mutex<Netlink>>,
    name: String,
    ifindex: u32,
    listen_port: u16,
}

#[napi]
impl EmbeddedTunnel {
    /// Creates the TUN device, down, and binds the UDP socket, both in the network namespace at this path; none: the
    /// calling thread's.
    #[napi(factory, catch_unwind)]
    pub fn open(
        name: String,
        private_key: &[u8],
        listen_port: u16,
        mtu: u32,
        namespace: Option<String>,
    ) -> napi::Result<Self> {
        let private_key = StaticSecret::from(key("private key", private_key)?);
        if !(tun::SMALLEST_MTU..=tun::LARGEST_MTU).contains(&mtu) {
            let range = format!("{} to {}", tun::SMALLEST_MTU, tun::LARGEST_MTU);
            return Err(KernelError::refused(format!("MTU {mtu}"), format!("outside {range}")).into());
        }
        let runtime = runtime()?;
        let (mut netlink, fd, ifindex, socket) = Inside::open(namespace.as_deref())?.run(|| {
            let _entered = runtime.enter();
            let netlink = Netlink::open(netlink_sys::protocols::NETLINK_ROUTE)?;
            let fd = tun::create(&name)?;
            let ifindex = tun::ifindex(&name)?;
            Ok((netlink, fd, ifindex, ReusedSocket::bind(listen_port)?))
        })?;
        links::prepare_tunnel(&mut netlink, ifindex, mtu)?;

        let _entered = runtime.enter();
        let listen_port = socket.port()?;
        let device = Arc::new(RwLock::new(None::<Running>));
        let watched = Arc::downgrade(&device);
        let control = ControlSocket::open(&name, move || {
            let watched = watched.clone();
            async move {
                let peers = watched.upgrade()?.read().await.as_ref()?.states().await;
                Some(Status { listen_port, peers })
            }
        })?;
        runtime.block_on(async {
            *device.write().await = Some(start(fd, mtu, socket, private_key).await?);
            Ok::<_, KernelError>(())
        })?;
        Ok(Self {
            device,
            control: Mutex::new(Some(control)),
            netlink: Arc::new(Mutex::new(netlink)),
            name,
            ifindex,
            listen_port,
        })
    }

    #[napi(getter, catch_unwind)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    #[napi(getter, catch_unwind)]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    #[napi(getter, catch_unwind)]
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// Refuses a public key that is already there.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn add_peer<'env>(&self, env: &'env Env, peer: PeerRow) -> napi::Result<Object<'env>> {
        let peer = to_gotatun(Peer::try_from(peer)?);
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            match open_device(&device)?.device.add_peer(peer).await.map_err(|error| failed("add a peer", &error))? {
                true => Ok(()),
                false => Err(KernelError::refused("add a peer", "its key is already there")),
            }
        })
    }

    /// Whether it was there. Its key pairs are gone when the promise is kept.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn remove_peer<'env>(&self, env: &'env Env, public_key: &[u8]) -> napi::Result<Object<'env>> {
        let public_key = PublicKey::from(key("public key", public_key)?);
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            let running = open_device(&device)?;
            let mut proved = running.proved.lock().await;
            proved.remove(public_key.as_bytes());
            running.device.remove_peer(&public_key).await.map_err(|error| failed("remove a peer", &error))
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_all_peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            let running = open_device(&device)?;
            let mut proved = running.proved.lock().await;
            proved.clear();
            running.device.clear_peers().await.map_err(|error| failed("remove all peers", &error))?;
            Ok(())
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Array<PeerStateRow>>")]
    pub fn peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            let states = open_device(&device)?.states().await;
            Ok(states.into_iter().map(PeerStateRow::from).collect::<Vec<_>>())
        })
    }

    /// Ends the device; link and control socket are gone when the promise is kept. Idempotent.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let control = self.control.lock().map_or(None, |mut control| control.take());
        let device = Arc::clone(&self.device);
        let netlink = Arc::clone(&self.netlink);
        let ifindex = self.ifindex;
        promise(env, async move {
            drop(control);
            let Some(running) = device.write().await.take() else { return Ok(()) };
            running.device.stop().await;
            // The descriptors go when the last of gotatun's tasks does, which nothing waits for.
            let mut netlink =
                netlink.lock().map_err(|_| KernelError::refused("close a tunnel", "the netlink socket broke"))?;
            links::delete(&mut netlink, ifindex).map(|_| ())
        })
    }
}

/// Removes control sockets of dead processes; answers the device names.
#[napi(catch_unwind, ts_return_type = "Promise<Array<string>>")]
pub fn remove_dead_control_sockets<'env>(env: &'env Env, prefix: String) -> napi::Result<Object<'env>> {
    promise_blocking(env, move || uapi::remove_dead(&prefix))
}

async fn start(fd: OwnedFd, mtu: u32, socket: ReusedSocket, private_key: StaticSecret) -> Result<Running> {
    let mtu = u16::try_from(mtu).map_err(|_| KernelError::refused("start a tunnel", "the MTU is too large"))?;
    let device = DeviceBuilder::new()
        .with_udp(socket)
        .with_ip(Tun::new(fd, mtu)?)
        .with_private_key(private_key)
        .build()
        .await
        .map_err(|error| failed("start a tunnel", &error))?;
    // A device built without peers does not listen; any reconfiguration makes it.
    device.clear_peers().await.map_err(|error| failed("start a tunnel", &error))?;
    Ok(Running { device, proved: tokio::sync::Mutex::default() })
}

impl Running {
    async fn states(&self) -> Vec<PeerState> {
        let mut proved = self.proved.lock().await;
        let peers = self.device.peers().await;
        let now = Instant::now();
        let state = peers.into_iter().map(|found| {
            let key = found.peer.public_key.to_bytes();
            let origin = found.peer.endpoint.map(Origin::read);
            // Between a peer's next initiation and its first packet after it, the handshake before counts.
            if origin.is_some_and(|origin| origin.proves_secret)
                && let Some(at) = found.stats.last_handshake.and_then(|age| now.checked_sub(age))
            {
                proved.insert(key, at);
            }
            PeerState {
                public_key: key,
                endpoint: origin.map(|origin| origin.address),
                allowed_ips: found.peer.allowed_ips,
                handshake_age_ms: proved.get(&key).map(|at| now.duration_since(*at).as_secs_f64() * 1000.0),
                received_bytes: found.stats.rx_bytes as u64,
                sent_bytes: found.stats.tx_bytes as u64,
            }
        });
        state.collect()
    }
}

fn to_gotatun(peer: Peer) -> GotatunPeer {
    let mut into = GotatunPeer::new(PublicKey::from(peer.public_key))
        .with_allowed_ips(peer.allowed_ips)
        .with_preshared_key(peer.preshared_key);
    into.endpoint = peer.endpoint;
    into.keepalive = (peer.keepalive != 0).then_some(peer.keepalive);
    into
}

fn open_device(device: &Option<Running>) -> Result<&Running> {
    device.as_ref().ok_or_else(|| KernelError::refused("WireGuard device", "it is closed"))
}

fn failed(what: &str, error: &gotatun::device::Error) -> KernelError {
    KernelError::from_chain(what, error)
}
