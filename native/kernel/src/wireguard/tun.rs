//! A TUN device made by us, which hands over and takes super-packets (`offload`).
//!
//! A link that is down (EIO) or a packet the kernel refuses (EINVAL) must not leave the tunnel deaf for good: a peer
//! could send such a packet. Only the removal of the link is an end; all else costs one frame.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use super::offload::HEADER_BYTES;
use super::offload::coalesce::Sink;
use crate::errors::{KernelError, Result};

pub const MTUS: RangeInclusive<u16> = 576..=4000;
/// The longest frame: its header and an IPv4 packet.
pub const LONGEST_FRAME: usize = HEADER_BYTES + 65_535;

const CLONE_DEVICE: &CStr = c"/dev/net/tun";
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const IFF_TUN_EXCL: libc::c_int = 0x8000;
const CHECKSUMS: libc::c_ulong = 0x01;
const TCP_SEGMENTS: libc::c_ulong = 0x02 | 0x04;
const UDP_SEGMENTS: libc::c_ulong = 0x20 | 0x40;

pub struct Tun {
    fd: AsyncFd<OwnedFd>,
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
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | IFF_TUN_EXCL;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request is an ifreq that outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) } != 0 {
        return Err(KernelError::last_os(what()));
    }
    let header_bytes = HEADER_BYTES as libc::c_int;
    // SAFETY: the pointer is to an int that outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const header_bytes) } != 0 {
        return Err(KernelError::last_os(what()));
    }
    // UDP needs Linux 6.2. Without any of them frames are single packets, and only throughput is lost.
    for offloads in [CHECKSUMS | TCP_SEGMENTS | UDP_SEGMENTS, CHECKSUMS | TCP_SEGMENTS] {
        // SAFETY: the argument is a number.
        if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, offloads) } == 0 {
            break;
        }
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
    pub fn new(fd: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is owned here, so it stays open for as long as it is watched.
        let watched = unsafe { AsyncFd::register(fd) };
        let fd = watched.map_err(|error| KernelError::from_chain("watch a TUN device", &error))?;
        Ok(Self { fd })
    }

    /// Returns when a frame may be there, or the link is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// One frame's length, or the error `WouldBlock`.
    pub fn try_read(&self, frame: &mut [u8]) -> io::Result<usize> {
        self.fd.try_io(tokio::io::Interest::READABLE, |fd| {
            // SAFETY: the pointer and length describe the buffer.
            let read = unsafe { libc::read(fd.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len()) };
            usize::try_from(read).map_err(|_| io::Error::last_os_error())
        })
    }
}

/// For one burst of packets; tells whether the link is still there.
pub struct Writer<'a> {
    tun: &'a Tun,
    pub is_removed: bool,
}

impl<'a> Writer<'a> {
    pub fn new(tun: &'a Tun) -> Self {
        Self { tun, is_removed: false }
    }
}

impl Sink for Writer<'_> {
    fn write(&mut self, header: &[u8; HEADER_BYTES], packet: &[u8]) {
        let parts = [header.as_slice(), packet]
            .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: both parts describe bytes that outlive the call, which only reads them.
        let written = unsafe { libc::writev(self.tun.fd.as_raw_fd(), parts.as_ptr(), 2) };
        if written < 0 && is_removed(&io::Error::last_os_error()) {
            self.is_removed = true;
        }
    }
}

pub fn is_removed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EBADFD | libc::ENODEV))
}
