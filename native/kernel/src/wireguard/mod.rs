//! WireGuard behind one shape: embedded (user space, `embedded.rs`) and the kernel's own (`kernel.rs`).
//! Both classes have the same methods, and the rows that cross the border to JavaScript are the same.

pub mod embedded;
pub mod kernel;
mod kernel_messages;
mod peers;
mod tun;
mod uapi;
mod udp;
