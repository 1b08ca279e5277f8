//! What a terminator gives up once it listens: capabilities, and every system call that it does not need any more.
//!
//! A bug in a parser of strangers' bytes may hand the process to an attacker. What is left to that attacker is what this
//! process already holds: its sockets, memory, and TCP. There is no way back out of `enter`, for any thread.

mod capabilities;
mod filter;
#[cfg(test)]
mod refusals;
mod ring;

use std::io;

use napi::{Error, Result, Status};
use napi_derive::napi;
use seccompiler::apply_filter_all_threads;

/// Whether the process holds an io_uring, by which it could go around every filter; it then cannot be confined.
#[napi(catch_unwind)]
pub fn holds_ring() -> Result<bool> {
    ring::is_open().map_err(|why| failed("/proc/self/fd", &why.to_string()))
}

/// From now on neither this process nor what it executes gets an io_uring. Throws when that was so before.
#[napi(catch_unwind)]
pub fn refuse_rings() -> Result<()> {
    if ring::is_refused() {
        return Err(failed("refusing io_uring", "it is refused already"));
    }
    let filter = filter::no_rings().map_err(|why| failed("compiling the filter", &why))?;
    apply_filter_all_threads(&filter).map_err(|why| failed("installing the filter", &why.to_string()))
}

/// Has an inherited descriptor outlive the next exec: Node marks all it was given to be closed by one.
#[napi(catch_unwind)]
pub fn keep_over_exec(fd: i32) -> Result<()> {
    // SAFETY: sets a flag of a descriptor, and touches no memory.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } {
        0 => Ok(()),
        _ => Err(failed(&format!("descriptor {fd}"), &io::Error::last_os_error().to_string())),
    }
}

/// For the whole process, all threads, and for good. Throws with the step that failed; the process is then in an
/// unknown state between free and confined, and must end. `unix`: it may connect to unix sockets, which is for one that
/// comes back to a socket of its parent's; what other sockets it reaches is the file system's to say.
#[napi(catch_unwind)]
pub fn enter(unix: bool) -> Result<()> {
    if holds_ring()? {
        return Err(failed("looking for an io_uring", "there is one, and it goes around every filter"));
    }
    let filters = filter::programs(unix).map_err(|why| failed("compiling the filter", &why))?;
    capabilities::drop_everywhere().map_err(|why| failed("dropping capabilities", &why))?;
    // No core dump holds our keys, and no process of the same user may attach.
    set(libc::PR_SET_DUMPABLE, 0).map_err(|why| failed("PR_SET_DUMPABLE", &why.to_string()))?;
    set(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(|why| failed("PR_SET_NO_NEW_PRIVS", &why.to_string()))?;
    for program in &filters {
        apply_filter_all_threads(program).map_err(|why| failed("installing the filter", &why.to_string()))?;
    }
    Ok(())
}

fn set(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: both options take an integer, and no memory.
    match unsafe { libc::prctl(option, value, zero, zero, zero) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn failed(step: &str, why: &str) -> Error {
    Error::new(Status::GenericFailure, format!("{step}: {why}"))
}
