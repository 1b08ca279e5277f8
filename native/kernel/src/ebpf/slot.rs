//! Slot 0 of the posture map, and the pin by which others find the map. Our programs and descriptors hold the map itself,
//! so that whoever removes the pin, or puts another map there, writes to something that no program of ours reads.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::sys;
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
    ours: OwnedFd,
    id: u32,
    pin: PathBuf,
    /// Of the pin when it was last looked into; pins of bpffs are told apart by it.
    inode: Option<u64>,
    state: PinState,
    foreign: Option<OwnedFd>,
}

impl PostureSlot {
    pub fn open(ours: OwnedFd, pin: PathBuf) -> Result<Self> {
        let info = sys::map_info(ours.as_fd()).map_err(|error| KernelError::from_io("posture_level", &error))?;
        Ok(Self { ours, id: info.id, pin, inode: None, state: PinState::Ours, foreign: None })
    }

    /// What slot 0 says, of the map that others can reach.
    pub fn level(&self) -> Result<u32> {
        match (self.state, &self.foreign) {
            (PinState::Foreign, Some(map)) => first_word(map.as_fd()),
            (PinState::Foreign, None) => Ok(0),
            _ => first_word(self.ours.as_fd()),
        }
    }

    /// Looks at the pin; one that was removed is put back. A look at a pin that stayed is one `stat`.
    pub fn look(&mut self) -> PinState {
        let inode = fs::symlink_metadata(&self.pin).map(|found| found.ino()).ok();
        if inode.is_some() && inode == self.inode {
            return self.state;
        }
        if inode.is_none() && sys::pin(self.ours.as_fd(), &self.pin).is_err() {
            self.state = PinState::Gone;
            return self.state;
        }
        // Before the map is opened: one that is exchanged in between is looked into again.
        self.inode = fs::symlink_metadata(&self.pin).map(|found| found.ino()).ok();
        let found = sys::open_pin(&self.pin).and_then(|map| sys::map_info(map.as_fd()).map(|info| (map, info)));
        (self.state, self.foreign) = match found {
            Ok((_, info)) if info.id == self.id => (PinState::Ours, None),
            Ok((map, info)) => {
                let is_posture = info.kind == sys::MAP_TYPE_ARRAY && info.key_size == 4 && info.value_size == 4;
                (PinState::Foreign, is_posture.then_some(map))
            }
            Err(_) => (PinState::Foreign, None),
        };
        self.state
    }
}

fn first_word(map: BorrowedFd<'_>) -> Result<u32> {
    let mut value = [0; 4];
    sys::lookup(map, &0u32.to_ne_bytes(), &mut value)
        .map_err(|error| KernelError::from_io("look up posture_level", &error))?;
    Ok(u32::from_ne_bytes(value))
}
