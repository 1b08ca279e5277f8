//! Errors as the daemon sees them: what was tried, the kernel's own words, the errno's name, the verifier's whole log.

use std::fmt::{self, Display};
use std::io;

/// A failure at the border to the kernel. Its text is `WHAT: KERNEL'S WORDS [ERRNO]`, then the verifier's log.
#[derive(Debug)]
pub struct KernelError {
    what: String,
    words: String,
    errno: Option<i32>,
    log: Option<String>,
}

pub type Result<T> = std::result::Result<T, KernelError>;

impl KernelError {
    /// A failure that is not the kernel's: a bad argument, a state that does not allow the call.
    pub fn refused(what: impl Into<String>, words: impl Into<String>) -> Self {
        Self { what: what.into(), words: words.into(), errno: None, log: None }
    }

    pub fn from_io(what: impl Into<String>, error: &io::Error) -> Self {
        Self { what: what.into(), words: error.to_string(), errno: error.raw_os_error(), log: None }
    }

    /// What `errno` of this thread says about the call that just failed.
    pub fn last_os(what: impl Into<String>) -> Self {
        Self::from_io(what, &io::Error::last_os_error())
    }

    /// From any error chain; the errno is searched in its sources.
    pub fn from_chain(what: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut words = error.to_string();
        let mut errno = None;
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = next {
            if let Some(found) = current.downcast_ref::<io::Error>() {
                errno = errno.or(found.raw_os_error());
            }
            let text = current.to_string();
            if !words.contains(&text) {
                words.push_str(": ");
                words.push_str(&text);
            }
            next = current.source();
        }
        Self { what: what.into(), words, errno, log: None }
    }

    pub fn with_log(mut self, log: impl Into<String>) -> Self {
        let log = log.into();
        self.log = if log.is_empty() { None } else { Some(log) };
        self
    }

    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.words)?;
        if let Some(errno) = self.errno {
            write!(f, " [{}]", errno_name(errno))?;
        }
        if let Some(log) = &self.log {
            write!(f, "\n{log}")?;
        }
        Ok(())
    }
}

impl std::error::Error for KernelError {}

/// In JavaScript: an Error whose `code` is napi's `GenericFailure`; the text above is its message.
impl From<KernelError> for napi::Error {
    fn from(error: KernelError) -> Self {
        napi::Error::new(napi::Status::GenericFailure, error.to_string())
    }
}

/// The symbolic name, `ENOENT`, or `errno N` for one that this table does not have.
pub fn errno_name(errno: i32) -> String {
    for (number, name) in NAMES {
        if *number == errno {
            return (*name).to_string();
        }
    }
    format!("errno {errno}")
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

const NAMES: &[(i32, &str)] = names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOSPC EROFS EMLINK EPIPE ERANGE ENAMETOOLONG ENOSYS ENOTEMPTY ELOOP
    ENODATA EOVERFLOW EPROTO EBADMSG EILSEQ ENOTSOCK EMSGSIZE EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE
    EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED
    EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED
};
