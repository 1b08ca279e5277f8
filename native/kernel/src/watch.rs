//! Threads that tell JavaScript what the kernel did. They never keep the process alive: their callbacks are weak, and
//! they end with their handle or with the process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::errors::{KernelError, Result};

/// Stops and joins its thread when dropped.
pub struct Watch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// `body` is to return as soon as the descriptor that it is given is readable.
    pub fn spawn(name: &str, body: impl FnOnce(BorrowedFd<'_>) + Send + 'static) -> Result<Self> {
        // SAFETY: a plain call; the descriptor is ours.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(KernelError::last_os("eventfd"));
        }
        // SAFETY: as above.
        let stop = Arc::new(unsafe { OwnedFd::from_raw_fd(event) });
        let seen = Arc::clone(&stop);
        let thread = Builder::new()
            .name(name.to_string())
            .spawn(move || body(seen.as_fd()))
            .map_err(|error| KernelError::from_io(format!("start thread {name}"), &error))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: an eventfd takes 8 bytes.
        unsafe { libc::write(self.stop.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits up to `timeout_ms` (-1: for ever) for one of them to become readable.
pub fn signalled(fds: &[BorrowedFd<'_>], timeout_ms: i32) -> bool {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the array is as long as said.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) > 0 }
}
