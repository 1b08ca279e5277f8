//! The kernel's WireGuard, over generic netlink.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use napi::Env;
use napi::bindgen_prelude::{Buffer, Object, ToNapiValue};
use napi_derive::napi;
use netlink_packet_core::{NLM_F_ACK, NlasIterator};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::WireguardMessage;
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};

use super::kernel_messages::{self as messages, DeviceState};
use super::peers::{Peer, PeerRow, PeerStateRow, key, keys};
use super::tun;
use crate::background::promise_blocking;
use crate::ebpf::inside::Inside;
use crate::errors::{KernelError, Result};
use crate::netlink::links;
use crate::netlink::socket::{Netlink, Refusal};

#[napi(object)]
pub struct WireguardProbe {
    pub present: bool,
    /// One line for `doctor`.
    pub why: String,
}

/// Whether this kernel has WireGuard; asking loads its module where there is one.
#[napi(catch_unwind)]
pub fn probe_kernel_wireguard() -> napi::Result<WireguardProbe> {
    let mut socket = Netlink::open(NETLINK_GENERIC)?;
    Ok(match find_family(&mut socket)? {
        Ok(_) => WireguardProbe { present: true, why: "the kernel has WireGuard".into() },
        Err(refusal) => {
            WireguardProbe { present: false, why: refusal.into_error("the kernel has no WireGuard").to_string() }
        }
    })
}

#[napi]
pub struct KernelTunnel {
    device: Arc<Mutex<KernelDevice>>,
    name: String,
    ifindex: u32,
    listen_port: u16,
}

/// Both sockets are bound to the namespace the link is in.
struct KernelDevice {
    wireguard: Netlink,
    family: u16,
    route: Netlink,
    ifindex: u32,
    /// The kernel would update a peer that is there; here that is refused, so the keys are kept.
    keys: HashSet<[u8; 32]>,
    is_open: bool,
}

#[napi]
impl KernelTunnel {
    /// Creates the link, down, in the network namespace at this path; none: the calling thread's.
    #[napi(factory, catch_unwind)]
    pub fn open(
        name: String,
        private_key: &[u8],
        listen_port: u16,
        mtu: u32,
        namespace: Option<String>,
    ) -> napi::Result<Self> {
        let private_key = key("private key", private_key)?;
        let (wireguard, family, route, ifindex) = Inside::open(namespace.as_deref())?.run(|| {
            let mut wireguard = Netlink::open(NETLINK_GENERIC)?;
            let mut route = Netlink::open(NETLINK_ROUTE)?;
            let family =
                find_family(&mut wireguard)?.map_err(|refusal| refusal.into_error("the kernel has no WireGuard"))?;
            links::create_wireguard(&mut route, &name, mtu)?;
            Ok((wireguard, family, route, tun::ifindex(&name)?))
        })?;
        let mut device = KernelDevice { wireguard, family, route, ifindex, keys: HashSet::new(), is_open: true };
        match device.start(private_key, listen_port) {
            Ok(listen_port) => Ok(Self { device: Arc::new(Mutex::new(device)), name, ifindex, listen_port }),
            Err(error) => {
                // The first error is the one to report.
                let _ = links::delete(&mut device.route, ifindex);
                Err(error.into())
            }
        }
    }

    /// The device of this name that a former process left, with nothing of it changed; none when there is none.
    #[napi(catch_unwind)]
    pub fn adopt(name: String, namespace: Option<String>) -> napi::Result<Option<Self>> {
        let Some((wireguard, family, route, ifindex)) = Inside::open(namespace.as_deref())?.run(|| {
            let mut wireguard = Netlink::open(NETLINK_GENERIC)?;
            let route = Netlink::open(NETLINK_ROUTE)?;
            let family =
                find_family(&mut wireguard)?.map_err(|refusal| refusal.into_error("the kernel has no WireGuard"))?;
            Ok(tun::ifindex(&name).ok().map(|ifindex| (wireguard, family, route, ifindex)))
        })?
        else {
            return Ok(None);
        };
        let mut device = KernelDevice { wireguard, family, route, ifindex, keys: HashSet::new(), is_open: true };
        // A link of this name that is no WireGuard device fails here.
        let DeviceState { listen_port, peers, .. } = device.read()?;
        device.keys.extend(peers.iter().map(|peer| peer.public_key));
        Ok(Some(Self { device: Arc::new(Mutex::new(device)), name, ifindex, listen_port }))
    }

    /// Read back from the kernel, which tells it to CAP_NET_ADMIN alone.
    #[napi(catch_unwind)]
    pub fn private_key(&self) -> napi::Result<Buffer> {
        let state = lock(&self.device)?.read()?;
        let key = state.private_key.ok_or_else(|| KernelError::refused("WireGuard device", "it has no private key"))?;
        Ok(key.to_vec().into())
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
        self.run(env, move |device| {
            if device.keys.contains(&peer.public_key) {
                return Err(KernelError::refused("add a peer", "its key is already there"));
            }
            device.set("add a peer", messages::add_peer(device.ifindex, &peer))?;
            device.keys.insert(peer.public_key);
            Ok(())
        })
    }

    /// `public_keys`: one behind the other. How many were there; their key pairs are gone when the promise is kept.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn remove_peers<'env>(&self, env: &'env Env, public_keys: &[u8]) -> napi::Result<Object<'env>> {
        let public_keys = keys("public keys", public_keys)?;
        self.run(env, move |device| {
            let mut removed = 0;
            for some in public_keys.chunks(messages::MOST_NAMED) {
                device.set("remove peers", messages::remove_peers(device.ifindex, some))?;
                removed += some.iter().filter(|key| device.keys.remove(*key)).count() as u32;
            }
            Ok(removed)
        })
    }

    /// `public_keys`: one behind the other. How many were there; their sessions go on.
    #[napi(catch_unwind, ts_return_type = "Promise<number>")]
    pub fn set_keepalive<'env>(&self, env: &'env Env, public_keys: &[u8], seconds: u16) -> napi::Result<Object<'env>> {
        let mut public_keys = keys("public keys", public_keys)?;
        self.run(env, move |device| {
            // One that is gone would have the whole message refused.
            public_keys.retain(|key| device.keys.contains(key));
            for some in public_keys.chunks(messages::MOST_NAMED) {
                device.set("set keepalives", messages::set_keepalive(device.ifindex, some, seconds))?;
            }
            Ok(public_keys.len() as u32)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_all_peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.run(env, |device| {
            device.set("remove all peers", messages::remove_all_peers(device.ifindex))?;
            device.keys.clear();
            Ok(())
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Array<PeerStateRow>>")]
    pub fn peers<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.run(env, |device| Ok(device.read()?.peers.into_iter().map(PeerStateRow::from).collect::<Vec<_>>()))
    }

    /// The link is gone when the promise is kept. Idempotent.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = Arc::clone(&self.device);
        promise_blocking(env, move || {
            let mut device = lock(&device)?;
            if device.is_open {
                let ifindex = device.ifindex;
                links::delete(&mut device.route, ifindex)?;
                device.is_open = false;
            }
            Ok(())
        })
    }
}

impl KernelTunnel {
    fn run<'env, T, W>(&self, env: &'env Env, work: W) -> napi::Result<Object<'env>>
    where
        T: ToNapiValue + Send + 'static,
        W: FnOnce(&mut KernelDevice) -> Result<T> + Send + 'static,
    {
        let device = Arc::clone(&self.device);
        promise_blocking(env, move || {
            let mut device = lock(&device)?;
            if !device.is_open {
                return Err(KernelError::refused("WireGuard device", "it is closed"));
            }
            work(&mut device)
        })
    }
}

impl KernelDevice {
    /// Answers the port. The kernel takes it only when the link goes up, so it is up for a moment, without peers and so
    /// without traffic: a port that is taken is an error now and not later, and 0 becomes the number it stands for.
    fn start(&mut self, private_key: [u8; 32], listen_port: u16) -> Result<u16> {
        self.set("configure WireGuard", messages::configure(self.ifindex, private_key, listen_port))?;
        links::set_up(&mut self.route, self.ifindex, true)?;
        let listen_port = self.read()?.listen_port;
        links::set_up(&mut self.route, self.ifindex, false)?;
        Ok(listen_port)
    }

    fn set(&mut self, what: &str, message: WireguardMessage) -> Result<()> {
        let message = self.addressed(message);
        self.wireguard.request(message, 0)?.map_err(|refusal| refusal.into_error(what))
    }

    fn read(&mut self) -> Result<DeviceState> {
        let message = self.addressed(messages::get(self.ifindex));
        let bodies = self.wireguard.list("read WireGuard peers", &message, |_, body| Some(body.to_vec()))?;
        let now = SystemTime::now();
        let mut state = DeviceState::default();
        for body in bodies {
            state.take(&body, now).map_err(|words| KernelError::refused("read WireGuard peers", words))?;
        }
        Ok(state)
    }

    fn addressed(&self, message: WireguardMessage) -> GenlMessage<WireguardMessage> {
        let mut message = GenlMessage::from_payload(message);
        message.set_resolved_family_id(self.family);
        message
    }
}

const GENL_HEADER_BYTES: usize = 4;
const CTRL_ATTR_FAMILY_ID: u16 = 1;

fn find_family(socket: &mut Netlink) -> Result<std::result::Result<u16, Refusal>> {
    let query = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_string())],
    });
    let mut family = None;
    let outcome = socket.ask(query, NLM_F_ACK, |_, body| {
        let attributes = NlasIterator::new(body.get(GENL_HEADER_BYTES..).unwrap_or_default());
        for attribute in attributes.flatten().filter(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID) {
            family = attribute.value().try_into().ok().map(u16::from_ne_bytes);
        }
        Ok(())
    })?;
    match (outcome, family) {
        (Err(refusal), _) => Ok(Err(refusal)),
        (Ok(_), Some(family)) => Ok(Ok(family)),
        (Ok(_), None) => Err(KernelError::refused("look for WireGuard", "an answer without a family number")),
    }
}

/// A panic under the lock leaves answers unread on the sockets: they are not used again.
fn lock(device: &Mutex<KernelDevice>) -> Result<MutexGuard<'_, KernelDevice>> {
    device.lock().map_err(|_| KernelError::refused("WireGuard device", "it broke in an earlier call"))
}
