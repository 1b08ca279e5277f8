//! One map: its sizes, its entries as bytes, and, where the kernel lets us, its memory.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::sys;
use crate::errors::{KernelError, Result};

pub struct Table {
    name: String,
    fd: OwnedFd,
    info: sys::MapInfo,
    memory: Option<Memory>,
}

impl Table {
    pub fn new(name: &str, fd: OwnedFd) -> Result<Self> {
        let info = sys::map_info(fd.as_fd()).map_err(|error| KernelError::from_io(name, &error))?;
        let is_mappable = info.kind == sys::MAP_TYPE_ARRAY && info.flags & sys::MAP_FLAG_MMAPABLE != 0;
        let memory = if is_mappable { Some(Memory::map(name, &fd, &info)?) } else { None };
        Ok(Self { name: name.to_string(), fd, info, memory })
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn info(&self) -> &sys::MapInfo {
        &self.info
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_key(key)?;
        let mut value = vec![0; self.bytes_of_value()];
        let is_there = sys::lookup(self.fd.as_fd(), key, &mut value).map_err(|error| self.failed("look up", &error))?;
        Ok(is_there.then_some(value))
    }

    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check_key(key)?;
        if value.len() != self.bytes_of_value() {
            return Err(KernelError::refused(&self.name, "wrong length of value"));
        }
        sys::update(self.fd.as_fd(), key, value).map_err(|error| self.failed("update", &error))
    }

    /// How many of the entries were written, and the error that stopped it.
    pub fn put_batch(&self, keys: &[u8], values: &[u8]) -> Result<(u32, Option<KernelError>)> {
        let count = self.count_of(keys)?;
        if values.len() != count as usize * self.bytes_of_value() {
            return Err(KernelError::refused(&self.name, "keys and values differ in number"));
        }
        if count == 0 {
            return Ok((0, None));
        }
        let (written, error) = sys::update_batch(self.fd.as_fd(), keys, values, count);
        Ok((written, error.map(|error| self.failed("update a batch", &error))))
    }

    /// Deletes what is there of these keys; answers how many were.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<u32> {
        let mut left = keys;
        let mut deleted = 0;
        let key_size = self.info.key_size as usize;
        while !left.is_empty() {
            let (done, error) = sys::delete_batch(self.fd.as_fd(), left, self.count_of(left)?);
            deleted += done;
            left = &left[done as usize * key_size..];
            match error {
                None => break,
                // It stops at a key that is gone: go on behind it.
                Some(error) if error.raw_os_error() == Some(libc::ENOENT) && !left.is_empty() => {
                    left = &left[key_size..];
                }
                Some(error) => return Err(self.failed("delete a batch", &error)),
            }
        }
        Ok(deleted)
    }

    /// Makes a hash hold exactly these keys, new ones with `value`. What stays is never absent meanwhile; when they cannot
    /// all be held, it is as it was, and the error says why.
    pub fn hold_exactly(&self, keys: &[u8], value: &[u8]) -> Result<Option<KernelError>> {
        self.count_of(keys)?;
        let size = self.info.key_size as usize;
        let wanted: HashSet<&[u8]> = keys.chunks_exact(size).collect();
        if wanted.len() > self.info.max_entries as usize {
            return Ok(Some(self.failed("update a batch", &std::io::Error::from_raw_os_error(libc::E2BIG))));
        }
        let standing = self.keys()?;
        let standing: HashSet<&[u8]> = standing.chunks_exact(size).collect();
        let gone = standing.difference(&wanted).copied().collect::<Vec<_>>().concat();
        let fresh = wanted.difference(&standing).copied().collect::<Vec<_>>().concat();
        // First what makes room.
        self.delete_batch(&gone)?;
        let (written, error) = self.put_batch(&fresh, &value.repeat(fresh.len() / size))?;
        if error.is_some() {
            self.delete_batch(&fresh[..written as usize * size])?;
            self.put_batch(&gone, &value.repeat(gone.len() / size))?;
        }
        Ok(error)
    }

    /// All keys, one behind the other. Entries that come or go meanwhile may or may not be in it.
    pub fn keys(&self) -> Result<Vec<u8>> {
        let size = self.info.key_size as usize;
        let mut keys: Vec<u8> = Vec::new();
        let mut next = vec![0; size];
        // Deletions meanwhile make the kernel start over: the bound keeps that finite.
        for _ in 0..=self.info.max_entries {
            let last = (!keys.is_empty()).then(|| &keys[keys.len() - size..]);
            let is_more =
                sys::next_key(self.fd.as_fd(), last, &mut next).map_err(|error| self.failed("walk", &error))?;
            if !is_more {
                break;
            }
            keys.extend_from_slice(&next);
        }
        Ok(keys)
    }

    pub fn clear(&self) -> Result<()> {
        if let Some(memory) = &self.memory {
            memory.zero(0, memory.length);
            return Ok(());
        }
        if matches!(self.info.kind, sys::MAP_TYPE_ARRAY | sys::MAP_TYPE_PERCPU_ARRAY) {
            let zero = vec![0; self.bytes_of_value()];
            for index in 0..self.info.max_entries {
                self.put(&index.to_ne_bytes(), &zero)?;
            }
            return Ok(());
        }
        self.delete_batch(&self.keys()?).map(drop)
    }

    pub fn memory(&self) -> Result<&Memory> {
        self.memory.as_ref().ok_or_else(|| KernelError::refused(&self.name, "is not memory-mapped"))
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        if key.len() == self.info.key_size as usize {
            Ok(())
        } else {
            Err(KernelError::refused(&self.name, "wrong length of key"))
        }
    }

    fn count_of(&self, keys: &[u8]) -> Result<u32> {
        let size = self.info.key_size as usize;
        if keys.len().is_multiple_of(size) {
            Ok((keys.len() / size) as u32)
        } else {
            Err(KernelError::refused(&self.name, "keys are cut"))
        }
    }

    /// Per-CPU values come as one value, rounded up to 8 bytes, for each possible CPU.
    fn bytes_of_value(&self) -> usize {
        let size = self.info.value_size as usize;
        if self.info.kind == sys::MAP_TYPE_PERCPU_ARRAY {
            size.next_multiple_of(8) * aya::util::nr_cpus().unwrap_or(1)
        } else {
            size
        }
    }

    fn failed(&self, verb: &str, error: &std::io::Error) -> KernelError {
        KernelError::from_io(format!("{verb} in {}", self.name), error)
    }
}

/// A memory-mapped array: the kernel sees a store the moment it is made, and never half of it.
pub struct Memory {
    at: *mut u8,
    length: usize,
    stride: usize,
}

// SAFETY: all access is by atomics, or zeroes entries that no program reads meanwhile.
unsafe impl Send for Memory {}
unsafe impl Sync for Memory {}

impl Memory {
    pub fn map(name: &str, fd: &OwnedFd, info: &sys::MapInfo) -> Result<Self> {
        let stride = (info.value_size as usize).next_multiple_of(8);
        let length = stride * info.max_entries as usize;
        // SAFETY: a fresh shared mapping of the map's memory; the kernel checks its length.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(KernelError::last_os(format!("map the memory of {name}")));
        }
        Ok(Self { at: at.cast(), length, stride })
    }

    pub fn word(&self, index: u32, offset: u32) -> Result<&AtomicU32> {
        let at = self.place(index, offset, 4)?;
        // SAFETY: inside the mapping, aligned, and only ever accessed atomically.
        Ok(unsafe { AtomicU32::from_ptr(at.cast()) })
    }

    pub fn long(&self, index: u32, offset: u32) -> Result<&AtomicU64> {
        let at = self.place(index, offset, 8)?;
        // SAFETY: as above.
        Ok(unsafe { AtomicU64::from_ptr(at.cast()) })
    }

    /// A copy of `count` entries.
    pub fn read(&self, first: u32, count: u32) -> Result<Vec<u8>> {
        let (start, length) = self.range(first, count)?;
        let words = (0..length / 8).map(|n| {
            // SAFETY: inside the mapping by `range`; strides are multiples of 8.
            unsafe { AtomicU64::from_ptr(self.at.add(start + n * 8).cast()) }.load(Ordering::Relaxed).to_ne_bytes()
        });
        Ok(words.flatten().collect())
    }

    /// Entries without padding, one behind the other, from the first of the array.
    pub fn fill(&self, entries: &[u8]) -> Result<()> {
        if !entries.len().is_multiple_of(self.stride) || entries.len() > self.length {
            return Err(KernelError::refused("array", "entries are cut, or too many"));
        }
        for (n, word) in entries.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: inside the mapping, as checked; strides are multiples of 8.
            let at = unsafe { AtomicU64::from_ptr(self.at.add(n * 8).cast()) };
            at.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Entries that fit.
    pub fn entries(&self) -> usize {
        self.length / self.stride
    }

    pub fn clear(&self, first: u32, count: u32) -> Result<()> {
        let (start, length) = self.range(first, count)?;
        self.zero(start, length);
        Ok(())
    }

    fn zero(&self, start: usize, length: usize) {
        for n in 0..length / 8 {
            // SAFETY: as in `read`.
            unsafe { AtomicU64::from_ptr(self.at.add(start + n * 8).cast()) }.store(0, Ordering::Release);
        }
    }

    fn range(&self, first: u32, count: u32) -> Result<(usize, usize)> {
        let (start, length) = (first as usize * self.stride, count as usize * self.stride);
        if start + length > self.length {
            return Err(KernelError::refused("array", "index out of range"));
        }
        Ok((start, length))
    }

    fn place(&self, index: u32, offset: u32, size: usize) -> Result<*mut u8> {
        let offset = offset as usize;
        let at = index as usize * self.stride + offset;
        if offset + size > self.stride || at + size > self.length || !at.is_multiple_of(size) {
            return Err(KernelError::refused("array", "index out of range"));
        }
        // SAFETY: inside the mapping, as checked.
        Ok(unsafe { self.at.add(at) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody borrows from it any more.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}
