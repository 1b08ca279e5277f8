//! bpf(2) as it is, for what aya does not offer: batches, test runs, links by ifindex. UAPI: linux/bpf.h.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub const MAP_TYPE_ARRAY: u32 = 2;
pub const MAP_TYPE_PERCPU_ARRAY: u32 = 6;
pub const MAP_FLAG_MMAPABLE: u32 = 1 << 10;

pub const TCX_INGRESS: u32 = 46;
pub const TCX_EGRESS: u32 = 47;
const LINK_BEFORE: u32 = 1 << 3;

const NOEXIST: u64 = 1;

const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const MAP_UPDATE_BATCH: u32 = 26;
const MAP_DELETE_BATCH: u32 = 27;
const LINK_CREATE: u32 = 28;
const LINK_DETACH: u32 = 34;

#[repr(C)]
#[derive(Default, Clone, Copy)]
pub struct MapInfo {
    pub kind: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// The kernel's number of a program.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Head {
        _kind: u32,
        id: u32,
    }
    info::<Head>(program).map(|Head { id, .. }| id)
}

/// Zero once it was detached.
pub fn interface_of_tcx_link(link: BorrowedFd<'_>) -> io::Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Link {
        _kind: u32,
        _id: u32,
        _program: u32,
        _pad: u32,
        ifindex: u32,
        _attach_type: u32,
    }
    info::<Link>(link).map(|Link { ifindex, .. }| ifindex)
}

/// `T` is the head of what the kernel tells of the object.
fn info<T: Default>(object: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = T::default();
    let mut attr = Attr { fd: raw(object), info_len: size_of::<T>() as u32, info: &raw mut info as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

#[repr(C)]
struct Element {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(map: BorrowedFd<'_>, key: *const u8, value: *const u8) -> Self {
        Self { map: raw(map), _pad: 0, key: key as u64, value: value as u64, flags: 0 }
    }
}

/// False when there is no such key. `value` must be as long as the kernel writes.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    found(bpf(MAP_LOOKUP_ELEM, &mut Element::new(map, key.as_ptr(), value.as_mut_ptr())))
}

/// EEXIST when the key is there. Tries of kernels before 6.13 do not look: this is for hashes.
pub fn insert(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut element = Element { flags: NOEXIST, ..Element::new(map, key.as_ptr(), value.as_ptr()) };
    bpf(MAP_UPDATE_ELEM, &mut element).map(drop)
}

pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(MAP_UPDATE_ELEM, &mut Element::new(map, key.as_ptr(), value.as_ptr())).map(drop)
}

/// The key after `key` (none: the first one) into `next`; false at the end.
pub fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let from = key.map_or(std::ptr::null(), <[u8]>::as_ptr);
    found(bpf(MAP_GET_NEXT_KEY, &mut Element::new(map, from, next.as_mut_ptr())))
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// How many entries were written, and why the next one was not.
pub fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> (u32, Option<io::Error>) {
    batch(MAP_UPDATE_BATCH, map, keys.as_ptr(), values.as_ptr(), count)
}

/// How many were deleted; it stops at the first key that is not there.
pub fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> (u32, Option<io::Error>) {
    batch(MAP_DELETE_BATCH, map, keys.as_ptr(), std::ptr::null(), count)
}

fn batch(
    command: u32,
    map: BorrowedFd<'_>,
    keys: *const u8,
    values: *const u8,
    count: u32,
) -> (u32, Option<io::Error>) {
    let mut attr = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys as u64,
        values: values as u64,
        count,
        map: raw(map),
        element_flags: 0,
        flags: 0,
    };
    match bpf(command, &mut attr) {
        Ok(_) => (attr.count, None),
        // An argument that the kernel refuses leaves the count as it was.
        Err(error) if attr.count >= count => (0, Some(error)),
        Err(error) => (attr.count, Some(error)),
    }
}

#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(OBJ_PIN, &mut Object { path: path.as_ptr() as u64, fd: raw(object), flags: 0 }).map(drop)
}

pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let fd = bpf(OBJ_GET, &mut Object { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches first in the chain of an interface of the calling thread's network namespace.
pub fn create_tcx_link(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        _pad: u32,
        expected_revision: u64,
    }
    let fd = bpf(
        LINK_CREATE,
        &mut Attr {
            program: raw(program),
            ifindex,
            attach_type,
            flags: LINK_BEFORE,
            relative: 0,
            _pad: 0,
            expected_revision: 0,
        },
    )?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches now. Closing the last descriptor, or removing the pin, detaches some time later.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut raw(link)).map(drop)
}

pub struct Run {
    /// What the program returned.
    pub verdict: i32,
    /// Mean of all repetitions.
    pub nanoseconds: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

/// What a program is run on.
pub struct Trial<'a> {
    pub packet: &'a [u8],
    pub ifindex: u32,
    /// Where it came in, if it is passed on; 0: nowhere.
    pub ingress_ifindex: u32,
    pub mark: u32,
    pub repeat: u32,
}

pub fn test_run(
    program: BorrowedFd<'_>,
    Trial { packet, ifindex, ingress_ifindex, mark, repeat }: Trial<'_>,
) -> io::Result<Run> {
    #[repr(C)]
    struct Attr {
        program: u32,
        verdict: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
    }
    /// The head of `struct __sk_buff` up to the fields that are ours to set.
    #[repr(C)]
    #[derive(Default)]
    struct Context {
        _length_and_type: [u32; 2],
        mark: u32,
        _between: [u32; 6],
        ingress_ifindex: u32,
        ifindex: u32,
        _after: u32,
    }
    let context = Context { mark, ingress_ifindex, ifindex, ..Context::default() };
    let mut out = vec![0; packet.len() + 256];
    let mut attr = Attr {
        program: raw(program),
        verdict: 0,
        size_in: packet.len() as u32,
        size_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        duration: 0,
        context_size_in: size_of::<Context>() as u32,
        context_size_out: 0,
        context_in: &raw const context as u64,
        context_out: 0,
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    out.truncate(attr.size_out as usize);
    Ok(Run { verdict: attr.verdict as i32, nanoseconds: attr.duration, packet: out })
}

fn bpf<A>(command: u32, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` for this command and outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut A, size_of::<A>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

fn found(answer: io::Result<i32>) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
