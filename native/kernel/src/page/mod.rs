//! The writer of the governance page; layout and reader's rules in include/governance_state.h.

use std::fs::{File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::boottime;
use crate::errors::{KernelError, Result};

const MAGIC: u32 = 0x5348_5350;
const VERSION: u32 = 2;
const SIZE: usize = 4096;

/// `struct governance_state`.
#[repr(C)]
struct State {
    magic: AtomicU32,
    version: AtomicU32,
    sequence: AtomicU32,
    level: AtomicU32,
    epoch: AtomicU64,
    heartbeat_ns: AtomicU64,
    written_ns: AtomicU64,
    rules: AtomicU32,
}

#[napi]
pub struct GovernancePageWriter {
    at: *mut State,
    _file: File,
}

// SAFETY: the mapping is only accessed atomically.
unsafe impl Send for GovernancePageWriter {}

#[napi]
impl GovernancePageWriter {
    /// Maps the page at `path`, creating it with mode 0644. A page that is there keeps its inode, so that readers who
    /// have it mapped see what we write. Until the first `write` a new page reads as level 1.
    #[napi(factory, catch_unwind)]
    pub fn open(path: String) -> napi::Result<Self> {
        Ok(Self::map(&path)?)
    }

    /// Level 1 to 5; rules 1 (standard) to 5 (allowlist only). One writer at a time.
    #[napi(catch_unwind)]
    pub fn write(&self, level: u32, epoch: BigInt, rules: u32) -> napi::Result<()> {
        let (negative, epoch, lossless) = epoch.get_u64();
        if !(1..=5).contains(&level) || !(1..=5).contains(&rules) || negative || !lossless {
            return Err(KernelError::refused(
                "governance page",
                "wants a level of 1 to 5, rules of 1 to 5 and an epoch of 64 bits",
            )
            .into());
        }
        let state = self.state();
        let now = boottime::now_ns();
        // Odd already: a writer died in the middle; its half is overwritten under the same number.
        let odd = state.sequence.load(Ordering::Relaxed) | 1;
        state.sequence.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        state.magic.store(MAGIC, Ordering::Relaxed);
        state.version.store(VERSION, Ordering::Relaxed);
        state.level.store(level, Ordering::Relaxed);
        state.epoch.store(epoch, Ordering::Relaxed);
        state.rules.store(rules, Ordering::Relaxed);
        state.written_ns.store(now, Ordering::Relaxed);
        state.heartbeat_ns.store(now, Ordering::Relaxed);
        state.sequence.store(odd.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn beat(&self) {
        self.state().heartbeat_ns.store(boottime::now_ns(), Ordering::Release);
    }

    fn map(path: &str) -> Result<Self> {
        let failed = |what: &str, error: std::io::Error| KernelError::from_io(format!("{what} {path}"), &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // A link planted there would have us write through it.
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|error| failed("open", error))?;
        let kind = file.metadata().map_err(|error| failed("stat", error))?;
        // SAFETY: geteuid cannot fail.
        if !kind.is_file() || kind.uid() != unsafe { libc::geteuid() } {
            return Err(KernelError::refused(path, "is no plain file of ours: another could write the level"));
        }
        file.set_permissions(Permissions::from_mode(0o644)).map_err(|error| failed("chmod", error))?;
        file.set_len(SIZE as u64).map_err(|error| failed("size", error))?;
        // SAFETY: a fresh shared mapping of a file that is as long as the mapping.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(KernelError::last_os(format!("map {path}")));
        }
        Ok(Self { at: at.cast(), _file: file })
    }

    fn state(&self) -> &State {
        // SAFETY: the mapping lives as long as this, is page-aligned and larger than State.
        unsafe { &*self.at }
    }
}

impl Drop for GovernancePageWriter {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.at.cast(), SIZE) };
    }
}
