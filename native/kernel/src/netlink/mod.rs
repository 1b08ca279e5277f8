//! Links, addresses, routes and policy rules of one network namespace over rtnetlink.
//!
//! A socket stays bound to the namespace it was opened in, so the work may run on any thread. Routes cross the
//! border to JavaScript packed (`routes.rs`), because ten thousand objects would cost more than the kernel does.

pub mod addresses;
#[cfg(test)]
mod hostile;
mod link_events;
pub mod links;
pub mod routes;
pub mod rules;
pub mod socket;

use std::sync::{Arc, Mutex, MutexGuard};

use napi::Env;
use napi::bindgen_prelude::{Buffer, Object, ToNapiValue};
use napi_derive::napi;

use crate::background::promise_blocking;
use crate::ebpf::inside::Inside;
use crate::errors::{KernelError, Result};
use rules::RuleRow;
use socket::Netlink;

#[napi]
pub struct RouteNetlink {
    socket: Arc<Mutex<Netlink>>,
}

#[napi]
impl RouteNetlink {
    /// Bound to the network namespace at this path; none: the calling thread's.
    #[napi(constructor, catch_unwind)]
    pub fn new(namespace: Option<String>) -> napi::Result<Self> {
        let inside = Inside::open(namespace.as_deref())?;
        let socket = inside.run(|| Netlink::open(netlink_sys::protocols::NETLINK_ROUTE))?;
        Ok(Self { socket: Arc::new(Mutex::new(socket)) })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Array<LinkRow>>")]
    pub fn links<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.run(env, links::list)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn set_link<'env>(&self, env: &'env Env, ifindex: u32, up: bool) -> napi::Result<Object<'env>> {
        self.run(env, move |socket| links::set_up(socket, ifindex, up))
    }

    /// Whether it was there.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn delete_link<'env>(&self, env: &'env Env, ifindex: u32) -> napi::Result<Object<'env>> {
        self.run(env, move |socket| links::delete(socket, ifindex))
    }

    /// `address`: 4 or 16 bytes in network order, host bits included.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn add_address<'env>(
        &self,
        env: &'env Env,
        ifindex: u32,
        address: &[u8],
        length: u8,
    ) -> napi::Result<Object<'env>> {
        let address = routes::address_of(address)?;
        self.run(env, move |socket| addresses::add(socket, ifindex, address, length))
    }

    /// Packed routes (`routes.rs`). Replaces ours, never another's.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn add_routes<'env>(&self, env: &'env Env, packed: &[u8]) -> napi::Result<Object<'env>> {
        let wanted = routes::unpack(packed)?;
        self.run(env, move |socket| routes::add(socket, &wanted))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_routes<'env>(&self, env: &'env Env, packed: &[u8]) -> napi::Result<Object<'env>> {
        let unwanted = routes::unpack(packed)?;
        self.run(env, move |socket| routes::remove(socket, &unwanted))
    }

    /// Ours only, packed.
    #[napi(catch_unwind, ts_return_type = "Promise<Buffer>")]
    pub fn routes<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.run(env, |socket| Ok(Buffer::from(routes::pack(&routes::list_ours(socket)?))))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn add_rule<'env>(&self, env: &'env Env, rule: RuleRow) -> napi::Result<Object<'env>> {
        self.run(env, move |socket| rules::add(socket, &rule))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_rule<'env>(&self, env: &'env Env, rule: RuleRow) -> napi::Result<Object<'env>> {
        self.run(env, move |socket| rules::remove(socket, &rule))
    }

    /// Ours only.
    #[napi(catch_unwind, ts_return_type = "Promise<Array<RuleRow>>")]
    pub fn rules<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.run(env, rules::list_ours)
    }
}

impl RouteNetlink {
    fn run<'env, T, W>(&self, env: &'env Env, work: W) -> napi::Result<Object<'env>>
    where
        T: ToNapiValue + Send + 'static,
        W: FnOnce(&mut Netlink) -> Result<T> + Send + 'static,
    {
        let socket = Arc::clone(&self.socket);
        promise_blocking(env, move || work(&mut *lock(&socket)?))
    }
}

/// A panic under the lock leaves answers unread on the socket: it is not used again.
fn lock(socket: &Mutex<Netlink>) -> Result<MutexGuard<'_, Netlink>> {
    socket.lock().map_err(|_| KernelError::refused("netlink", "the socket broke in an earlier call"))
}
