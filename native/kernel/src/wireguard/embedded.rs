//! WireGuard in this process, on gotatun. For hosts whose kernel has none.

use std::sync::{Arc, Mutex};

use gotatun::x25519::StaticSecret;
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use tokio::sync::RwLock;

use super::device::Device;
use super::peers::{Peer, PeerRow, PeerStateRow, key, keys};
use super::tun;
use super::uapi::{self, ControlSocket, Status};
use super::udp::{self, Socket};
use crate::background::{promise, promise_blocking, runtime};
use crate::ebpf::inside::Inside;
use crate::errors::{KernelError, Result};
use crate::netlink::links;
use crate::netlink::socket::Netlink;

#[napi]
pub struct EmbeddedTunnel {
    device: Arc<RwLock<Option<Device>>>,
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
        let device_mtu = u16::try_from(mtu).ok().filter(|mtu| tun::MTUS.contains(mtu)).ok_or_else(|| {
            KernelError::refused(format!("MTU {mtu}"), format!("outside {} to {}", tun::MTUS.start(), tun::MTUS.end()))
        })?;
        let runtime = runtime()?;
        let (mut netlink, fd, ifindex, socket) = Inside::open(namespace.as_deref())?.run(|| {
            let _entered = runtime.enter();
            let netlink = Netlink::open(netlink_sys::protocols::NETLINK_ROUTE)?;
            let fd = tun::create(&name)?;
            let ifindex = tun::ifindex(&name)?;
            Ok((netlink, fd, ifindex, Socket::bind(listen_port)?))
        })?;
        links::prepare_tunnel(&mut netlink, ifindex, mtu)?;
        limit_segments(&mut netlink, ifindex, udp::most_segments(device_mtu));

        let _entered = runtime.enter();
        let listen_port = socket.port()?;
        let device = Arc::new(RwLock::new(None::<Device>));
        let watched = Arc::downgrade(&device);
        let control = ControlSocket::open(&name, move || {
            let watched = watched.clone();
            async move {
                let peers = watched.upgrade()?.read().await.as_ref()?.states();
                Some(Status { listen_port, peers })
            }
        })?;
        runtime.block_on(async {
            *device.write().await = Some(Device::start(fd, device_mtu, socket, private_key)?);
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
        let peer = Peer::try_from(peer)?;
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            match open_device(&device)?.add_peer(peer) {
                true => Ok(()),
                false => Err(KernelError::refused("add a peer", "its key is already there")),
            }
        })
    }

    /// `public_keys`: one behind the other. How many were there; their key pairs are gone when the promise is kept.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn remove_peers<'env>(&self, env: &'env Env, public_keys: &[u8]) -> napi::Result<Object<'env>> {
        let public_keys = keys("public keys", public_keys)?;
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            Ok(open_device(&device)?.remove_peers(&public_keys) as u32)
        })
    }

    /// `public_keys`: one behind the other. How many were there; their sessions go on.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn set_keepalive<'env>(&self, env: &'env Env, public_keys: &[u8], seconds: u16) -> napi::Result<Object<'env>> {
        let public_keys = keys("public keys", public_keys)?;
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            Ok(open_device(&device)?.set_keepalive(&public_keys, seconds) as u32)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_all_peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            open_device(&device)?.remove_all_peers();
            Ok(())
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Array<PeerStateRow>>")]
    pub fn peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = Arc::clone(&self.device);
        promise(env, async move {
            let device = device.read().await;
            let states = open_device(&device)?.states();
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
            running.stop().await;
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

/// The kernel makes no super-packet that would have to leave in two pieces, the second of them small. Where it refuses,
/// only throughput is lost.
fn limit_segments(netlink: &mut Netlink, ifindex: u32, segments: u32) {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes.push(LinkAttribute::GsoMaxSegs(segments));
    let _ = netlink.request(RouteNetlinkMessage::SetLink(message), 0);
}

fn open_device(device: &Option<Device>) -> Result<&Device> {
    device.as_ref().ok_or_else(|| KernelError::refused("WireGuard device", "it is closed"))
}
