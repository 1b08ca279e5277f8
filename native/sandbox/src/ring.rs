//! io_uring is a second way to nearly every system call, and no filter sees what goes through it. libuv makes a ring for
//! each event loop as it starts, cannot be told not to, and aborts when a ring that it has stops to answer. So a process
//! that is to be confined must never have had one: it has rings refused, and starts itself again.

use std::fs;
use std::io;

use libc::c_void;

/// Whether any is open. Its memory may stay mapped after it was closed, but it does nothing then.
pub fn is_open() -> io::Result<bool> {
    for entry in fs::read_dir("/proc/self/fd")? {
        match fs::read_link(entry?.path()) {
            Ok(target) if target.as_os_str() == "anon_inode:[io_uring]" => return Ok(true),
            Ok(_) => {}
            // The descriptor of this very listing among others.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    Ok(false)
}

/// Whether this process gets none any more.
pub fn is_refused() -> bool {
    // SAFETY: no entries, and no parameters to read: it fails one way or the other.
    let answer = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0_u32, std::ptr::null::<c_void>()) };
    let why = io::Error::last_os_error().raw_os_error();
    answer < 0 && (why == Some(libc::ENOSYS) || why == Some(libc::EPERM))
}
