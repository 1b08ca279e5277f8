//! The privileged addon of Shellstream: eBPF, the governance page, tunnels and links.
//!
//! Thin and typed, no policy: the decisions are made in `src/` of the daemon. Every exported function catches panics
//! (`#[napi(catch_unwind)]`), because an unwinding panic would abort Node, and errors carry the kernel's own words.

mod background;
mod boottime;
mod ebpf;
mod errors;
#[cfg(test)]
mod hostile;
mod netlink;
mod page;
mod peercred;
mod watch;
mod wireguard;
