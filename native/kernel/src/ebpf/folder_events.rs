//! Wakes whoever waits when the names in a folder change: by inotify, which bpffs has as other file systems do.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub struct FolderEvents {
    fd: OwnedFd,
}

impl FolderEvents {
    /// None where the host has no watches left: whoever asks must look by itself from time to time anyway.
    pub fn of(folder: &Path) -> Option<Self> {
        let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
        // SAFETY: a plain call.
        let raw = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        if raw < 0 {
            return None;
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let names = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM | libc::IN_DELETE_SELF;
        // SAFETY: the path ends in NUL and outlives the call.
        let watch = unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), names) };
        (watch >= 0).then_some(Self { fd })
    }

    pub fn readable(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes what has happened; whether anything had.
    pub fn drain(&self) -> bool {
        let mut buffer = [0u8; 4096];
        let mut any = false;
        // SAFETY: the buffer is as long as said.
        while unsafe { libc::read(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {
            any = true;
        }
        any
    }
}
