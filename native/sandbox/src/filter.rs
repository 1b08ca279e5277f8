//! The system calls of a Node process that listens, connects, computes and logs. Whatever is not here fails with EPERM,
//! so that a call nobody thought of is an error in the log, and not the end of every session of this process.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Of `enter`, to be installed in this order. `unix`: streams to unix sockets may be opened besides.
pub fn programs(unix: bool) -> Result<[BpfProgram; 2], String> {
    Ok([
        compile(no_clone3(), SeccompAction::Allow, errno(libc::ENOSYS))?,
        compile(allowed(unix)?, errno(libc::EPERM), SeccompAction::Allow)?,
    ])
}

/// ENOSYS is what libuv takes for a kernel without them.
pub fn no_rings() -> Result<BpfProgram, String> {
    let rules = Rules::from([(libc::SYS_io_uring_setup, vec![])]);
    compile(rules, SeccompAction::Allow, errno(libc::ENOSYS))
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn compile(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|why| why.to_string())?;
    SeccompFilter::new(rules, otherwise, matched, arch).and_then(BpfProgram::try_from).map_err(|why| why.to_string())
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// clone3 has its flags behind a pointer, where no filter sees them. ENOSYS makes libc take clone. The other filter
/// lets clone3 pass: of two answers the kernel takes the stricter.
fn no_clone3() -> Rules {
    BTreeMap::from([(libc::SYS_clone3, vec![])])
}

fn allowed(unix: bool) -> Result<Rules, String> {
    let mut rules: Rules = ANY_ARGUMENTS.iter().map(|call| (*call, vec![])).collect();
    rules.extend(OF_THIS_ARCHITECTURE.iter().map(|call| (*call, vec![])));
    rules.extend(by_arguments(unix).map_err(|why| why.to_string())?);
    Ok(rules)
}

/// No open, no bind, no listen, no kill, no exec: all of that is done when this is entered.
const ANY_ARGUMENTS: &[c_long] = &[
    // What is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    // Sockets.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // The event loop, and waking it from another thread.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    // Memory. V8 compiles to memory that it then runs.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pkey_mprotect,
    // Threads of our own.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, randomness, and who we are.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

#[cfg(target_arch = "x86_64")]
const OF_THIS_ARCHITECTURE: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_ARCHITECTURE: &[c_long] = &[];

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

/// Each rule is a way to be allowed; its conditions hold together.
fn by_arguments(unix: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    let mut allow = |call: c_long, conditions: Vec<Condition>| {
        let conditions = conditions.into_iter().collect::<Result<Vec<_>, _>>()?;
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok::<(), seccompiler::BackendError>(())
    };

    for family in [libc::AF_INET, libc::AF_INET6] {
        // MPTCP and SCTP are streams too, and much code in the kernel.
        for protocol in [0, libc::IPPROTO_TCP] {
            let kind = among(1, !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK), libc::SOCK_STREAM);
            allow(libc::SYS_socket, vec![is(0, family), kind, is(2, protocol)])?;
        }
    }
    if unix {
        let kind = among(1, !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK), libc::SOCK_STREAM);
        allow(libc::SYS_socket, vec![is(0, libc::AF_UNIX), kind, is(2, 0)])?;
    }
    // What libuv sets on TCP; not TCP_ULP, not a filter, nothing of netfilter.
    for (level, option) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (libc::SOL_SOCKET, libc::SO_LINGER),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    ] {
        allow(libc::SYS_setsockopt, vec![is(1, level), is(2, option)])?;
    }
    for option in [libc::SO_ERROR, libc::SO_TYPE, libc::SO_RCVBUF, libc::SO_SNDBUF] {
        allow(libc::SYS_getsockopt, vec![is(1, libc::SOL_SOCKET), is(2, option)])?;
    }
    for command in [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC] {
        allow(libc::SYS_fcntl, vec![is(1, command)])?;
    }
    for request in [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD] {
        allow(libc::SYS_ioctl, vec![wide(1, request)])?;
    }
    for option in [libc::PR_SET_NAME, libc::PR_SET_VMA] {
        allow(libc::SYS_prctl, vec![is(0, option)])?;
    }
    allow(libc::SYS_clone, vec![wide(0, THREAD)])?;
    // SAFETY: takes nothing, and cannot fail.
    let myself = unsafe { libc::getpid() };
    // abort(3) among others.
    allow(libc::SYS_tgkill, vec![is(0, myself)])?;
    // Reading a limit of our own: libc wants to know how large a stack is.
    allow(libc::SYS_prlimit64, vec![is(0, 0), wide(2, 0_u64)])?;
    Ok(rules)
}

/// Exactly what pthread_create asks for: a thread of this process, in its namespaces.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// An `int`: the kernel does not look at the upper half of the register.
fn is(argument: u8, value: i32) -> Condition {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn wide(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

fn among(argument: u8, mask: i32, value: i32) -> Condition {
    let mask = SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned()));
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, mask, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_within_the_kernels_limit() {
        for program in [programs(false), programs(true)].into_iter().flat_map(|both| both.expect("compiles")) {
            assert!(program.len() < 4096);
        }
    }
}
