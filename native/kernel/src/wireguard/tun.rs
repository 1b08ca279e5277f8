//! A TUN device made by us, as gotatun's source and sink of IP packets.
//!
//! gotatun takes several ordinary write errors for the end of the device: a link that is down (EIO) or a packet the
//! kernel refuses (EINVAL) would leave the tunnel deaf for good, and a peer could send such a packet. Here only the
//! removal of the link is an end; all else costs one packet.

use std::ffi::CStr;
use std::io;
use std::iter;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use crate::errors::{KernelError, Result};

/// gotatun's packet buffers are 4096 bytes, and a longer packet would be cut without a word.
pub const LARGEST_MTU: u32 = 4000;
pub const SMALLEST_MTU: u32 = 576;

const CLONE_DEVICE: &CStr = c"/dev/net/tun";
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN_EXCL: libc::c_int = 0x8000;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Tun {
    fd: Arc<AsyncFd<OwnedFd>>,
    mtu: MtuWatcher,
}

/// Creates the device `name` in the network namespace of the calling thread, down. The name must be free; the device
/// goes with its last descriptor, so a killed process leaves none.
pub fn create(name: &str) -> Result<OwnedFd> {
    let what = || format!("create TUN device {name}");
    // SAFETY: a NUL-terminated path, and the result is checked before it is owned.
    let raw = unsafe { libc::open(CLONE_DEVICE.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) };
    if raw < 0 {
        return Err(KernelError::last_os(what()));
    }
    // SAFETY: just opened, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['/', '\0', '%', ' ']) {
        return Err(KernelError::refused(what(), "not an interface name"));
    }
    for (into, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *into = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: the request is an ifreq that outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) } != 0 {
        return Err(KernelError::last_os(what()));
    }
    Ok(fd)
}

pub fn ifindex(name: &str) -> Result<u32> {
    let text = std::ffi::CString::new(name).map_err(|_| KernelError::refused("look up a link", "not a name"))?;
    // SAFETY: a NUL-terminated name.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(KernelError::last_os(format!("look up link {name}"))),
        index => Ok(index),
    }
}

impl Tun {
    /// Must be called inside the runtime.
    pub fn new(fd: OwnedFd, mtu: u16) -> Result<Self> {
        // SAFETY: the descriptor is owned here, so it stays open for as long as it is watched.
        let watched = unsafe { AsyncFd::register(fd) };
        let fd = watched.map_err(|error| KernelError::from_chain("watch a TUN device", &error))?;
        Ok(Self { fd: Arc::new(fd), mtu: MtuWatcher::new(mtu) })
    }
}

impl IpSend for Tun {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        let packet = packet.into_bytes();
        // SAFETY: the pointer and length describe the packet.
        let written = unsafe { libc::write(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
        if written < 0 {
            let error = io::Error::last_os_error();
            if is_removed(&error) {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl IpRecv for Tun {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        loop {
            let mut packet = pool.get();
            let outcome = self
                .fd
                .async_io(Interest::READABLE, |fd| {
                    // SAFETY: the pointer and length describe the buffer.
                    let read = unsafe { libc::read(fd.as_raw_fd(), packet.as_mut_ptr().cast(), packet.len()) };
                    usize::try_from(read).map_err(|_| io::Error::last_os_error())
                })
                .await;
            match outcome {
                Ok(length) => {
                    packet.truncate(length);
                    if let Ok(packet) = packet.try_into_ip() {
                        return Ok(iter::once(packet));
                    }
                }
                Err(error) if is_removed(&error) => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
            }
        }
    }

    fn mtu(&self) -> MtuWatcher {
        self.mtu.clone()
    }
}

fn is_removed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EBADFD | libc::ENODEV))
}
