//! Drops every capability of every thread. capset(2) is of one thread, and Node has started its workers long before:
//! each of the others is interrupted by a signal, whose handler drops its own.

use std::fs;
use std::io;
use std::mem;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, c_long, c_ulong, pid_t};

/// Inheritable, permitted, effective, ambient, and bounding where the process was allowed to.
pub fn drop_everywhere() -> Result<(), String> {
    let bounding = Sets::of("self")
        .map_err(|why| format!("/proc/self/status: {why}"))?
        .is_some_and(|sets| sets.effective & (1 << CAP_SETPCAP) != 0);
    drop_of_this_thread();
    let signal = Signal::take().map_err(|why| format!("signal {SETXID}: {why}"))?;
    let deadline = Instant::now() + LONGEST;
    let mut clean_rounds = 0;
    // A thread may have made another between our look at the list and its own end of privilege, so one is not enough.
    while clean_rounds < 2 {
        let holding = holding(bounding).map_err(|why| format!("/proc/self/task: {why}"))?;
        clean_rounds = if holding.is_empty() { clean_rounds + 1 } else { 0 };
        if holding.is_empty() {
            continue;
        }
        if Instant::now() > deadline {
            return Err(format!("threads {holding:?} keep theirs"));
        }
        for thread in holding {
            signal.send(thread);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

const LONGEST: Duration = Duration::from_secs(5);
const CAP_SETPCAP: u32 = 8;

/// Threads that have any left.
fn holding(bounding: bool) -> io::Result<Vec<pid_t>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let Some(sets) = Sets::of(&format!("self/task/{name}"))? else {
            continue;
        };
        if sets.any || (bounding && sets.bounding != 0) {
            threads.push(name.parse().map_err(|_| io::ErrorKind::InvalidData)?);
        }
    }
    Ok(threads)
}

struct Sets {
    effective: u64,
    bounding: u64,
    /// Of those that give or may give power without an exec.
    any: bool,
}

impl Sets {
    /// None: the thread has ended.
    fn of(task: &str) -> io::Result<Option<Self>> {
        let status = match fs::read_to_string(format!("/proc/{task}/status")) {
            Ok(status) => status,
            Err(why) if why.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.and_then(|rest| rest.strip_prefix(':')).map(str::trim);
            digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        let effective = set("CapEff")?;
        let others = set("CapInh")? | set("CapPrm")? | set("CapAmb")?;
        Ok(Some(Self { effective, bounding: set("CapBnd")?, any: effective | others != 0 }))
    }
}

/// Calls nothing that a signal handler may not. Failures show in /proc, where `holding` looks.
fn drop_of_this_thread() {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [0_u32; 6];
    let zero: c_ulong = 0;
    // SAFETY: the prctl options take integers; capset reads a header and two structs of three words each.
    unsafe {
        let mut capability: c_ulong = 0;
        // EPERM at the first: not allowed to. EINVAL at the last: no such capability.
        while libc::prctl(libc::PR_CAPBSET_DROP, capability, zero, zero, zero) == 0 {
            capability += 1;
        }
        let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
        libc::prctl(libc::PR_CAP_AMBIENT, clear, zero, zero, zero);
        libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
    }
}

/// The signal by which libc itself has all threads change their user: no thread that it made can block it. It is taken
/// for the moment, and given back.
const SETXID: c_int = 33;

struct Signal {
    former: KernelAction,
}

impl Signal {
    fn take() -> io::Result<Self> {
        let action = action_for(on_signal)?;
        let mut former = KernelAction::default();
        kernel_sigaction(SETXID, &action, &mut former)?;
        Ok(Self { former })
    }

    /// To a thread of this process; it may have ended.
    fn send(&self, thread: pid_t) {
        // SAFETY: integers only.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SETXID) };
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // It was accepted when it was set before.
        let _ = kernel_sigaction(SETXID, &self.former, ptr::null_mut());
    }
}

extern "C" fn on_signal(_: c_int) {
    // SAFETY: errno of this thread, whose code must not see it change.
    unsafe {
        let errno = *libc::__errno_location();
        drop_of_this_thread();
        *libc::__errno_location() = errno;
    }
}

/// `struct sigaction` of the kernel, on x86_64 and aarch64.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct KernelAction {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

/// libc refuses to set its own signals, and the way back from a handler is libc's code: so it makes the action for
/// another signal, and that one is read back.
fn action_for(handler: extern "C" fn(c_int)) -> io::Result<KernelAction> {
    const ANOTHER: c_int = libc::SIGURG;
    // SAFETY: zeroed is a valid sigaction; all pointers are to locals.
    unsafe {
        let mut wanted: libc::sigaction = mem::zeroed();
        wanted.sa_sigaction = handler as *const () as usize;
        wanted.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        let mut former: libc::sigaction = mem::zeroed();
        if libc::sigaction(ANOTHER, &wanted, &mut former) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut made = KernelAction::default();
        let read = kernel_sigaction(ANOTHER, ptr::null(), &mut made);
        libc::sigaction(ANOTHER, &former, ptr::null_mut());
        read.map(|()| made)
    }
}

fn kernel_sigaction(signal: c_int, wanted: *const KernelAction, former: *mut KernelAction) -> io::Result<()> {
    // SAFETY: both are null or point to an action; the set of signals has 8 bytes.
    let answer: c_long = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, wanted, former, 8_usize) };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
