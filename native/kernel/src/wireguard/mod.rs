//! WireGuard behind one shape: embedded (user space, `embedded.rs`) and the kernel's own (`kernel.rs`).
//! The calls differ, the rows that cross the border to JavaScript do not.

pub mod embedded;

mod peers;
mod tun;
mod uapi;
mod udp;
