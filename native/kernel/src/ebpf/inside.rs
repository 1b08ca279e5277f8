//! Runs a call in another network namespace: on a thread of its own, because the caller's must not move.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::errors::{KernelError, Result};

/// A network namespace by its path, `/run/netns/NAME` or `/proc/PID/ns/net`; none: the caller's own.
pub struct Inside {
    namespace: Option<File>,
}

impl Inside {
    pub fn open(path: Option<&str>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { namespace: None }) };
        let file = File::open(path).map_err(|error| KernelError::from_io(format!("open {path}"), &error))?;
        Ok(Self { namespace: Some(file) })
    }

    pub fn run<T: Send>(&self, call: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Some(namespace) = &self.namespace else { return call() };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: setns moves this thread alone, which ends with the scope.
                if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(KernelError::last_os("enter the network namespace"));
                }
                call()
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(KernelError::refused("run in the network namespace", "the thread panicked")))
        })
    }
}
