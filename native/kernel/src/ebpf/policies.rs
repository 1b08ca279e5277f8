//! Entries of flow_policy in bulk: stored in memory that the kernel sees, put into the map and taken out of it by programs
//! (native/bpf/install.h).

use std::os::fd::{AsFd, BorrowedFd};

use super::sys;
use super::table::{Memory, Table};
use crate::errors::{KernelError, Result};

pub struct Installed {
    pub count: usize,
    /// Why the next one is not; none: all are.
    pub stopped: Option<Stopped>,
}

pub enum Stopped {
    IsThere,
    Refused(KernelError),
}

pub struct Policies<'a> {
    pub staged: &'a Memory,
    pub policies: &'a Table,
    /// Bytes of `struct staged`.
    pub size: usize,
}

/// What the kernel wants as a packet where there is none.
const NO_PACKET: [u8; 64] = [0; 64];

impl<'a> Policies<'a> {
    pub fn new(staged: &'a Table, policies: &'a Table) -> Result<Self> {
        let size = staged.info().value_size as usize;
        Ok(Self { staged: staged.memory()?, policies, size })
    }

    /// Stops at the first whose key is in the map or that does not fit.
    pub fn install(&self, program: BorrowedFd<'_>, entries: &[u8]) -> Result<Installed> {
        let mut left = self.whole(entries)?;
        while !left.is_empty() {
            let next = &left[..left.len().min(self.staged.entries() * self.size)];
            let done = self.run(program, next)? * self.size;
            left = &left[done..];
            if done == next.len() {
                continue;
            }
            // The program says how far it came, not why no further: a call for the next one alone does.
            let info = self.policies.info();
            let (key, value) = left[..(info.key_size + info.value_size) as usize].split_at(info.key_size as usize);
            if let Err(error) = sys::insert(self.policies.fd().as_fd(), key, value) {
                let stopped = match error.raw_os_error() {
                    Some(libc::EEXIST) => Stopped::IsThere,
                    _ => Stopped::Refused(KernelError::from_io("insert into flow_policy", &error)),
                };
                return Ok(Installed { count: (entries.len() - left.len()) / self.size, stopped: Some(stopped) });
            }
            left = &left[self.size..];
        }
        Ok(Installed { count: entries.len() / self.size, stopped: None })
    }

    /// Takes out what is still its session's; answers how many were.
    pub fn uninstall(&self, program: BorrowedFd<'_>, entries: &[u8]) -> Result<usize> {
        let mut gone = 0;
        for next in self.whole(entries)?.chunks(self.staged.entries() * self.size) {
            gone += self.run(program, next)?;
        }
        Ok(gone)
    }

    fn run(&self, program: BorrowedFd<'_>, entries: &[u8]) -> Result<usize> {
        self.staged.fill(entries)?;
        let count = entries.len() / self.size;
        let trial = sys::Trial { packet: &NO_PACKET, ifindex: 0, ingress_ifindex: 0, mark: count as u32, repeat: 1 };
        let run = sys::test_run(program, trial).map_err(|error| KernelError::from_io("write flow_policy", &error))?;
        Ok((run.verdict as usize).min(count))
    }

    fn whole<'b>(&self, entries: &'b [u8]) -> Result<&'b [u8]> {
        if entries.len().is_multiple_of(self.size) {
            Ok(entries)
        } else {
            Err(KernelError::refused("flow_policy", "entries are cut"))
        }
    }
}
