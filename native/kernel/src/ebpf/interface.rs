//! What the programs must know of an interface: whether its frames have an Ethernet header, and its MTU.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::links::interface_name;
use crate::errors::{KernelError, Result};

pub struct Interface {
    pub ethernet: bool,
    pub mtu: u32,
}

/// Of the calling thread's network namespace.
pub fn describe(ifindex: u32) -> Result<Interface> {
    let name = interface_name(ifindex)?;
    let failed = |error: io::Error| KernelError::from_io(format!("describe interface {name}"), &error);
    // SAFETY: a plain socket call; the descriptor is ours.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: as above.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let hardware = ask(&socket, &name, libc::SIOCGIFHWADDR).map_err(failed)?;
    let mtu = ask(&socket, &name, libc::SIOCGIFMTU).map_err(failed)?;
    // SAFETY: SIOCGIFHWADDR fills the address, SIOCGIFMTU the number.
    let (family, mtu) = unsafe { (hardware.ifr_ifru.ifru_hwaddr.sa_family, mtu.ifr_ifru.ifru_mtu) };
    Ok(Interface {
        ethernet: matches!(family, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK),
        mtu: u32::try_from(mtu).unwrap_or(0),
    })
}

fn ask(socket: &OwnedFd, name: &str, request: libc::Ioctl) -> io::Result<libc::ifreq> {
    // SAFETY: zero is a valid ifreq.
    let mut answer: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in answer.ifr_name.iter_mut().zip(name.bytes().take(libc::IF_NAMESIZE - 1)) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request reads and writes one ifreq.
    if unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut answer) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}
