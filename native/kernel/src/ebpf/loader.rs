//! From the object file to loaded programs and pinned maps.

use std::collections::HashMap;
use std::fs;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData, RingBuf};
use aya::programs::{Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader};

use super::pins::Pins;
use super::sys;
use super::table::Table;
use crate::errors::{KernelError, Result};

const EVENTS: &str = "shell_events";
const POSTURE: &str = "posture_level";
const NORMAL: u32 = 5;

pub struct Loaded {
    pub ebpf: Ebpf,
    pub tables: HashMap<String, Table>,
    /// Until somebody reads it.
    pub events: Option<RingBuf<MapData>>,
}

/// `sizes`: entries by map name. `quota`: flows a session may hold.
pub fn load(object: &str, pins: &Pins, sizes: &HashMap<String, u32>, quota: u32) -> Result<Loaded> {
    let bytes = fs::read(object).map_err(|error| KernelError::from_io(format!("read {object}"), &error))?;
    let posture_is_new = refuse_foreign_posture(pins)?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(pins.folder()).override_global("flow_quota", &quota, true);
    for (name, size) in sizes {
        loader.map_max_entries(name, *size);
    }
    let mut ebpf = loader.load(&bytes).map_err(|error| KernelError::from_chain(format!("load {object}"), &error))?;
    for (name, program) in ebpf.programs_mut() {
        let name = name.to_string();
        load_program(&name, classifier(&name, program)?)?;
    }
    let events = match ebpf.take_map(EVENTS) {
        Some(map) => Some(RingBuf::try_from(map).map_err(|error| KernelError::from_chain(EVENTS, &error))?),
        None => None,
    };
    let mut tables = HashMap::new();
    for (name, map) in ebpf.maps() {
        // Sections of the object (.rodata) are maps, too, but not ours to name.
        if name.starts_with('.') {
            continue;
        }
        let table = Table::new(name, descriptor_of(name, map)?)?;
        let path = pins.map(name);
        if !path.exists() {
            sys::pin(table.fd().as_fd(), &path).map_err(|error| KernelError::from_io(format!("pin {name}"), &error))?;
        }
        tables.insert(name.to_string(), table);
    }
    if posture_is_new {
        set_posture_to_normal(&tables)?;
    }
    Ok(Loaded { ebpf, tables, events })
}

pub fn classifier<'a>(name: &str, program: &'a mut Program) -> Result<&'a mut SchedClassifier> {
    program.try_into().map_err(|error: ProgramError| KernelError::from_chain(name, &error))
}

/// The descriptor of a loaded program.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    let found = ebpf.program_mut(name).ok_or_else(|| KernelError::refused(name, "no such program"))?;
    let fd = classifier(name, found)?.fd().map_err(|error| KernelError::from_chain(name, &error))?;
    Ok(fd.as_fd())
}

/// A signal that arrives while the verifier works makes the kernel give up with EAGAIN, which says nothing of the
/// program; a profiler's signals arrive faster than any program is verified. So they wait.
fn load_program(name: &str, program: &mut SchedClassifier) -> Result<()> {
    let _waiting = SignalsWait::on_this_thread();
    program.load().map_err(|error| refused_by_verifier(name, &error))
}

struct SignalsWait {
    before: libc::sigset_t,
}

impl SignalsWait {
    fn on_this_thread() -> Self {
        // SAFETY: both sets are initialised by the calls that get them.
        unsafe {
            let mut all = mem::zeroed();
            let mut before = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsWait {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Whoever made the map first, it must be the array that our programs read.
fn refuse_foreign_posture(pins: &Pins) -> Result<bool> {
    let path = pins.map(POSTURE);
    if !path.exists() {
        return Ok(true);
    }
    let failed = |error| KernelError::from_io(format!("open {}", path.display()), &error);
    let info = sys::map_info(sys::open_pin(&path).map_err(failed)?.as_fd()).map_err(failed)?;
    if info.kind != sys::MAP_TYPE_ARRAY || info.value_size != 4 || info.max_entries != 2 {
        return Err(KernelError::refused(path.display().to_string(), "is no array of two 32-bit levels"));
    }
    Ok(false)
}

fn set_posture_to_normal(tables: &HashMap<String, Table>) -> Result<()> {
    let table = tables.get(POSTURE).ok_or_else(|| KernelError::refused(POSTURE, "is not in the object"))?;
    for slot in [0u32, 1] {
        table.put(&slot.to_ne_bytes(), &NORMAL.to_ne_bytes())?;
    }
    Ok(())
}

fn refused_by_verifier(name: &str, error: &ProgramError) -> KernelError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            KernelError::from_io(format!("load program {name}"), io_error).with_log(verifier_log.to_string())
        }
        other => KernelError::from_chain(format!("load program {name}"), other),
    }
}

fn descriptor_of(name: &str, map: &Map) -> Result<OwnedFd> {
    let map = match map {
        Map::Array(map) | Map::PerCpuArray(map) | Map::HashMap(map) | Map::LruHashMap(map) | Map::LpmTrie(map) => map,
        _ => return Err(KernelError::refused(name, "is of a kind that the loader does not know")),
    };
    map.fd().as_fd().try_clone_to_owned().map_err(|error| KernelError::from_io(name, &error))
}
