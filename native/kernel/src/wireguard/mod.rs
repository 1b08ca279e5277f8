//! WireGuard behind one shape: embedded (user space, `embedded.rs`) and the kernel's own (`kernel.rs`).
//! Both classes have the same methods, and the rows that cross the border to JavaScript are the same.

mod device;
pub mod embedded;
#[cfg(test)]
mod hostile;
mod inner_packet;
pub mod kernel;
mod kernel_messages;
mod live_peer;
mod offload;
mod peers;
mod routing;
mod tun;
mod uapi;
mod udp;
