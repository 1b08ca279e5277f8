//! The instance's folder in bpffs, and the lock that lets one process at a time own it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::errors::{KernelError, Result};

const BPFFS: &str = "/sys/fs/bpf";
const BPFFS_MAGIC: i64 = 0xcafe_4a11;
const LOCKS: &str = "/run/shellstream";
const LOCK_TRIES: usize = 8;

/// Maps that outlive a run: who writes posture must not lose the map because we restarted.
pub const KEPT: [&str; 2] = ["posture_level", "lockdown_since"];

pub struct Pins {
    folder: PathBuf,
    _lock: Lock,
}

/// Held as long as this lives; the kernel lets go of it when the process dies.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: who opened the file meanwhile sees that its name is gone, and opens anew.
        let _ = fs::remove_file(&self.path);
    }
}

impl Pins {
    /// `instance` names the folder: lower-case letters, digits and dashes, at most 32.
    pub fn open(instance: &str) -> Result<Self> {
        let well_formed = !instance.is_empty()
            && instance.len() <= 32
            && instance.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !well_formed {
            return Err(KernelError::refused("instance name", "wants 1 to 32 of a-z, 0-9 and -"));
        }
        let lock = lock(instance)?;
        mount_bpffs()?;
        let folder = Path::new(BPFFS).join("shellstream").join(instance);
        make_folder(&folder.join("links"))?;
        let pins = Self { folder, _lock: lock };
        pins.remove_former_maps()?;
        Ok(pins)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    /// A former run's programs keep its maps alive as long as they are attached; the names are for ours.
    fn remove_former_maps(&self) -> Result<()> {
        for path in files_in(&self.folder)? {
            let is_kept = path.file_name().is_some_and(|name| KEPT.iter().any(|kept| name == *kept));
            if !is_kept {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

pub fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| KernelError::from_io(format!("read {}", folder.display()), &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Removing what is gone succeeds.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::from_io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

fn lock(instance: &str) -> Result<Lock> {
    make_folder(Path::new(LOCKS))?;
    let path = Path::new(LOCKS).join(format!("{instance}.lock"));
    let failed = |what: &str, error: &io::Error| KernelError::from_io(format!("{what} {}", path.display()), error);
    for _ in 0..LOCK_TRIES {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| failed("open", &error))?;
        // SAFETY: the descriptor is ours.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let what = format!("instance {instance} is owned by a running process ({})", path.display());
            return Err(KernelError::last_os(what));
        }
        let ours = file.metadata().map_err(|error| failed("stat", &error))?.ino();
        if fs::metadata(&path).is_ok_and(|named| named.ino() == ours) {
            return Ok(Lock { path, _file: file });
        }
    }
    Err(KernelError::refused(path.display().to_string(), "the lock's file is replaced again and again"))
}

fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| KernelError::from_io(format!("create {}", path.display()), &error))
}

fn mount_bpffs() -> Result<()> {
    if is_bpffs()? {
        return Ok(());
    }
    let target = format!("{BPFFS}\0");
    // SAFETY: all strings end in NUL and outlive the call.
    let answer = unsafe {
        libc::mount(c"bpf".as_ptr(), target.as_ptr().cast(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if answer == 0 { Ok(()) } else { Err(KernelError::last_os(format!("mount bpffs at {BPFFS}"))) }
}

fn is_bpffs() -> Result<bool> {
    let path = std::ffi::CString::new(Path::new(BPFFS).as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: zero is a valid statfs, and the kernel fills it.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(KernelError::last_os(format!("statfs {BPFFS}")));
    }
    Ok(found.f_type == BPFFS_MAGIC)
}
