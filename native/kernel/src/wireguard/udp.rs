//! The UDP socket of an embedded device. Datagrams of one size for one destination leave as one (`UDP_SEGMENT`) and
//! arrive as one (`UDP_GRO`) where the kernel can.

use std::io;
use std::iter;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use gotatun::packet::Packet;
use gotatun::udp::UdpRecv;
use gotatun::udp::socket::{SockOpt, UdpSocket};
use tokio::io::Interest;

use crate::errors::{KernelError, Result};

const BUFFER_BYTES: libc::c_int = 4 * 1024 * 1024;
/// The kernel's own limits: 64 datagrams (128 since 6.9), and the length of one UDP packet in IPv6 over IPv4.
const MOST_SEGMENTS: usize = 64;
const LONGEST_RUN: usize = 65_487;
const LONGEST_DATAGRAMS: usize = 65_535;

/// How many packets of a link with this MTU leave as one.
pub fn most_segments(mtu: u16) -> u32 {
    const DATA_HEADER_AND_TAG: usize = 32;
    let fitting = LONGEST_RUN / (usize::from(mtu) + DATA_HEADER_AND_TAG);
    fitting.min(MOST_SEGMENTS) as u32
}

pub struct Socket {
    socket: UdpSocket,
    can_segment: AtomicBool,
}

/// Datagrams of one sender: all `size` bytes long but the last.
pub struct Received {
    pub bytes: BytesMut,
    pub from: SocketAddr,
    pub size: usize,
}

impl Received {
    /// Cut out of one allocation, which is used again when all of them are dropped.
    pub fn datagrams(mut self) -> impl Iterator<Item = BytesMut> {
        iter::from_fn(move || {
            let length = self.size.min(self.bytes.len());
            (length > 0).then(|| self.bytes.split_to(length))
        })
    }
}

pub type Outgoing = Vec<(Packet, SocketAddr)>;

impl Socket {
    /// Binds in the network namespace of the calling thread, to both families where the host has IPv6. Must be called
    /// inside the runtime.
    pub fn bind(port: u16) -> Result<Self> {
        let options = SockOpt { only_v6: Some(false), ..SockOpt::default() };
        let bound = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), options).or_else(|error| {
            match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                    UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options)
                }
                _ => Err(error),
            }
        });
        let socket = bound.map_err(|error| KernelError::from_io(format!("bind UDP port {port}"), &error))?;
        // Only throughput is lost where the kernel refuses one of these; the FORCE forms need CAP_NET_ADMIN.
        let _ = UdpRecv::enable_udp_gro(&socket);
        for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            let _ = set_buffer(&socket, forced) || set_buffer(&socket, plain);
        }
        Ok(Self { socket, can_segment: AtomicBool::new(true) })
    }

    pub fn port(&self) -> Result<u16> {
        let address = self.socket.local_addr().map_err(|error| KernelError::from_io("read the UDP port", &error))?;
        Ok(address.port())
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.socket.socket().readable().await
    }

    /// What one system call gives, or the error `WouldBlock`. `buffer` keeps its allocation once all datagrams that
    /// were cut out of it are dropped.
    pub fn try_receive(&self, buffer: &mut BytesMut) -> io::Result<Received> {
        let socket = self.socket.socket();
        buffer.clear();
        buffer.reserve(LONGEST_DATAGRAMS);
        socket.try_io(Interest::READABLE, || {
            let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: LONGEST_DATAGRAMS };
            let mut from = Name::default();
            let mut control = Control::default();
            let mut message = message(&mut parts, 1, &mut from, Some(&mut control));
            // SAFETY: every pointer of the message is to something that outlives the call, with its true length.
            let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
            let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
            // SAFETY: the kernel has written that many bytes, and there is room for the most it may.
            unsafe { buffer.set_len(received) };
            from.length = message.msg_namelen;
            let size = segment_size(&message).filter(|size| *size > 0).unwrap_or(received.max(1));
            let from = from.address().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(Received { bytes: buffer.split(), from, size })
        })
    }

    /// Sends all, in order, and empties `packets`. What the kernel refuses is lost, as on any network.
    pub async fn send(&self, packets: &mut Outgoing) {
        let socket = self.socket.socket();
        let mut sent = 0;
        while let Some(rest) = packets.get(sent..).filter(|rest| !rest.is_empty()) {
            let most = if self.can_segment.load(Ordering::Relaxed) { MOST_SEGMENTS } else { 1 };
            let run = &rest[..run_length(rest, most)];
            match socket.async_io(Interest::WRITABLE, || send_run(socket.as_raw_fd(), run)).await {
                Err(error) if run.len() > 1 => {
                    // No checksum offload on the way out (EIO), or no such option; else this run was too large.
                    if matches!(error.raw_os_error(), Some(libc::EIO | libc::ENOPROTOOPT | libc::EOPNOTSUPP)) {
                        self.can_segment.store(false, Ordering::Relaxed);
                    }
                    for one in run.chunks(1) {
                        let _ = socket.async_io(Interest::WRITABLE, || send_run(socket.as_raw_fd(), one)).await;
                    }
                }
                _ => {}
            }
            sent += run.len();
        }
        packets.clear();
    }
}

fn set_buffer(socket: &UdpSocket, option: libc::c_int) -> bool {
    let (size, length) = (BUFFER_BYTES, mem::size_of::<libc::c_int>() as libc::socklen_t);
    let fd = socket.socket().as_raw_fd();
    // SAFETY: the pointer is to an int that outlives the call.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const size).cast(), length) == 0 }
}

/// How many of the first packets can leave as one: to one destination and of one length, the last may be shorter.
fn run_length(packets: &[(Packet, SocketAddr)], most: usize) -> usize {
    let Some((first, destination)) = packets.first() else { return 0 };
    let mut bytes = first.len();
    for (index, (packet, to)) in packets.iter().enumerate().take(most).skip(1) {
        bytes += packet.len();
        if to != destination || packet.len() > first.len() || bytes > LONGEST_RUN {
            return index;
        }
        if packet.len() < first.len() {
            return index + 1;
        }
    }
    packets.len().min(most)
}

fn send_run(fd: libc::c_int, run: &[(Packet, SocketAddr)]) -> io::Result<()> {
    let Some((first, destination)) = run.first() else { return Ok(()) };
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MOST_SEGMENTS];
    for (part, (packet, _)) in parts.iter_mut().zip(run) {
        *part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    }
    let mut to = Name::of(*destination);
    let mut control = (run.len() > 1).then(|| Control::segments_of(first.len()));
    let message = message(parts.as_mut_ptr(), run.len(), &mut to, control.as_mut());
    // SAFETY: every pointer of the message is to something that outlives the call, with its true length.
    match unsafe { libc::sendmsg(fd, &raw const message, 0) } {
        sent if sent < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn message(parts: *mut libc::iovec, count: usize, name: &mut Name, control: Option<&mut Control>) -> libc::msghdr {
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts;
    message.msg_iovlen = count as _;
    message.msg_name = (&raw mut name.storage).cast();
    message.msg_namelen = name.length;
    if let Some(control) = control {
        message.msg_controllen = mem::size_of_val(&control.bytes) as _;
        message.msg_control = control.bytes.as_mut_ptr().cast();
    }
    message
}

/// Room for one control message that holds a number.
#[derive(Default)]
#[repr(align(8))]
struct Control {
    bytes: [u8; 24],
}

impl Control {
    fn segments_of(size: usize) -> Self {
        let mut control = Self::default();
        // SAFETY: `bytes` is aligned as a cmsghdr is, and CMSG_SPACE of two bytes is its length: 24.
        unsafe {
            let header = control.bytes.as_mut_ptr().cast::<libc::cmsghdr>();
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = libc::UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(2) as _;
            libc::CMSG_DATA(header).cast::<u16>().write_unaligned(size as u16);
        }
        control
    }
}

fn segment_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has written the control messages and their lengths.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_UDP || (*header).cmsg_type != libc::UDP_GRO {
            return None;
        }
        usize::try_from(libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned()).ok()
    }
}

/// A socket address as the kernel takes it.
struct Name {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Default for Name {
    fn default() -> Self {
        // SAFETY: all zero is a valid sockaddr_storage.
        let storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self { storage, length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }
}

impl Name {
    fn of(address: SocketAddr) -> Self {
        let mut name = Self::default();
        let storage = &raw mut name.storage;
        match address {
            SocketAddr::V4(at) => {
                // SAFETY: a sockaddr_storage holds every kind of address, and all zero is a valid one.
                let into = unsafe { &mut *storage.cast::<libc::sockaddr_in>() };
                into.sin_family = libc::AF_INET as libc::sa_family_t;
                into.sin_port = at.port().to_be();
                into.sin_addr.s_addr = u32::from_ne_bytes(at.ip().octets());
                name.length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(at) => {
                // SAFETY: as above.
                let into = unsafe { &mut *storage.cast::<libc::sockaddr_in6>() };
                into.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                into.sin6_port = at.port().to_be();
                into.sin6_addr.s6_addr = at.ip().octets();
                into.sin6_scope_id = at.scope_id();
                name.length = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        name
    }

    /// An IPv4 address that came through a socket of both families is one again.
    fn address(&self) -> Option<SocketAddr> {
        let storage = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which kind of address it is.
                let from = unsafe { &*storage.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::from((ip, u16::from_be(from.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let from = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
                let (ip, port) = (Ipv6Addr::from(from.sin6_addr.s6_addr), u16::from_be(from.sin6_port));
                Some(match ip.to_ipv4_mapped() {
                    Some(ip) => SocketAddr::from((ip, port)),
                    None => SocketAddrV6::new(ip, port, 0, from.sin6_scope_id).into(),
                })
            }
            _ => None,
        }
    }
}
