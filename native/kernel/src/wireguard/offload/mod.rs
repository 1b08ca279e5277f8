//! What the kernel's TUN driver and this process hand each other instead of single packets: super-packets, each behind a
//! header of ten bytes (`virtio_net_hdr`, Virtio 1.2 §5.1.6). Nothing here does I/O.
//!
//! `split.rs` makes packets of what the kernel sends, `coalesce.rs` makes super-packets of what it is to receive.

mod checksum;
pub mod coalesce;
mod header;
#[cfg(test)]
mod property;
pub mod split;

pub use header::HEADER_BYTES;
