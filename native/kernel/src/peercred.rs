//! Who is at the other end of a unix socket, as the kernel recorded it when the connection was made.

use std::mem;

use napi_derive::napi;

use crate::errors::KernelError;

#[napi(object)]
pub struct PeerCredentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// SO_PEERCRED of a connected unix socket; `fd` stays the caller's.
#[napi(catch_unwind)]
pub fn peer_credentials(fd: i32) -> napi::Result<PeerCredentials> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `found`, which outlives the call.
    let status =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut found).cast(), &mut length) };
    if status != 0 {
        return Err(KernelError::last_os("read peer credentials").into());
    }
    // A TCP socket answers success with pid 0 and ids of -1: nobody is known there.
    if found.pid == 0 || found.uid == u32::MAX {
        return Err(KernelError::refused("read peer credentials", "not a connected unix socket").into());
    }
    Ok(PeerCredentials { pid: found.pid, uid: found.uid, gid: found.gid })
}
