//! Slot 0 of the posture map, and the pin by which others find the map. Our programs and descriptors hold the map itself,
//! so that whoever removes the pin, or puts another map there, writes to something that no program of ours reads.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::sys::{self, MapInfo};
use super::table::Memory;
use crate::errors::{KernelError, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    Ours = 0,
    /// The level is read from what is pinned; something that is no posture map says 0.
    Foreign = 1,
    /// It could not be put back.
    Gone = 2,
}

pub struct PostureSlot {
    ours: LevelMap,
    id: u32,
    pin: PathBuf,
    /// Of the pin when it was last looked into; pins of bpffs are told apart by it.
    inode: Option<u64>,
    state: PinState,
    foreign: Option<LevelMap>,
}

impl PostureSlot {
    pub fn open(ours: OwnedFd, pin: PathBuf) -> Result<Self> {
        let info = sys::map_info(ours.as_fd()).map_err(|error| KernelError::from_io("posture_level", &error))?;
        let ours = LevelMap::of(ours, &info);
        Ok(Self { ours, id: info.id, pin, inode: None, state: PinState::Ours, foreign: None })
    }

    pub fn pin(&self) -> PinState {
        self.state
    }

    /// What slot 0 says, of the map that others can reach.
    pub fn level(&self) -> Result<u32> {
        match (self.state, &self.foreign) {
            (PinState::Foreign, Some(map)) => map.first_word(),
            (PinState::Foreign, None) => Ok(0),
            _ => self.ours.first_word(),
        }
    }

    /// Looks at the pin; one that was removed is put back.
    pub fn look(&mut self) {
        let inode = self.inode_now();
        if inode.is_some() && inode == self.inode {
            return;
        }
        if inode.is_none() && sys::pin(self.ours.fd.as_fd(), &self.pin).is_err() {
            self.state = PinState::Gone;
            return;
        }
        // Before the map is opened: one that is exchanged in between is looked into again.
        self.inode = self.inode_now();
        let found = sys::open_pin(&self.pin).and_then(|map| sys::map_info(map.as_fd()).map(|info| (map, info)));
        (self.state, self.foreign) = match found {
            Ok((_, info)) if info.id == self.id => (PinState::Ours, None),
            Ok((map, info)) => (PinState::Foreign, holds_words(&info).then(|| LevelMap::of(map, &info))),
            Err(_) => (PinState::Foreign, None),
        };
    }

    fn inode_now(&self) -> Option<u64> {
        fs::symlink_metadata(&self.pin).map(|found| found.ino()).ok()
    }
}

/// A map of 32-bit words, read from its memory where it has been made so that it can be.
struct LevelMap {
    fd: OwnedFd,
    memory: Option<Memory>,
}

impl LevelMap {
    fn of(fd: OwnedFd, info: &MapInfo) -> Self {
        let is_mappable = holds_words(info) && info.flags & sys::MAP_FLAG_MMAPABLE != 0;
        let memory = if is_mappable { Memory::map("posture_level", &fd, info).ok() } else { None };
        Self { fd, memory }
    }

    fn first_word(&self) -> Result<u32> {
        if let Some(memory) = &self.memory {
            return Ok(memory.word(0, 0)?.load(Ordering::SeqCst));
        }
        let mut value = [0; 4];
        sys::lookup(self.fd.as_fd(), &0u32.to_ne_bytes(), &mut value)
            .map_err(|error| KernelError::from_io("look up posture_level", &error))?;
        Ok(u32::from_ne_bytes(value))
    }
}

fn holds_words(info: &MapInfo) -> bool {
    info.kind == sys::MAP_TYPE_ARRAY && info.key_size == 4 && info.value_size == 4 && info.max_entries > 0
}
