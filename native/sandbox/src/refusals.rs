//! The filter in the kernel, asked by raw system calls: Node cannot make most of them, an attacker inside of it can.
//! Each test filters one thread of its own, not the process.

use std::io;
use std::thread;

use libc::{c_long, c_ulong};
use seccompiler::apply_filter;

use crate::filter;

#[test]
fn every_way_out_is_refused_with_eperm() {
    let answers = confined(|| {
        REFUSED.iter().map(|(name, call, arguments)| (*name, errno_of(*call, *arguments))).collect::<Vec<_>>()
    });
    for (name, errno) in answers {
        assert_eq!(errno, libc::EPERM, "{name}");
    }
}

#[test]
fn clone3_and_a_ring_are_said_not_to_exist() {
    assert_eq!(confined(|| errno_of(libc::SYS_clone3, [0; 6])), libc::ENOSYS);
    let ring = thread::spawn(|| {
        apply_filter(&filter::no_rings().expect("compiles")).expect("no privilege is needed");
        errno_of(libc::SYS_io_uring_setup, [0; 6])
    });
    assert_eq!(ring.join().expect("lives"), libc::ENOSYS);
}

#[test]
fn what_a_terminator_does_goes_on() {
    let (stream, option, closed) = confined(|| {
        // SAFETY: descriptors only; each call is asked for its answer.
        unsafe {
            let stream = libc::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
            let one: libc::c_int = 1;
            let length = size_of_val(&one) as libc::socklen_t;
            let option =
                libc::setsockopt(stream, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), length);
            let closed = libc::close(stream);
            (stream, option, closed)
        }
    });
    assert!(stream >= 0);
    assert_eq!((option, closed), (0, 0));
    // A thread, and its end.
    assert_eq!(confined(|| thread::spawn(|| 7).join().expect("lives")), 7);
}

/// The answer of a thread that lives under the filter of `enter`.
fn confined<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        for program in &filter::programs(false).expect("compiles") {
            apply_filter(program).expect("no privilege is needed");
        }
        body()
    });
    thread.join().expect("lives")
}

fn errno_of(call: c_long, [a, b, c, d, e, f]: [c_ulong; 6]) -> i32 {
    // SAFETY: should the filter let it pass, then with null where memory is expected, and on no descriptor.
    let answer = unsafe { libc::syscall(call, a, b, c, d, e, f) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if answer < 0 { errno } else { 0 }
}

type Call = (&'static str, c_long, [c_ulong; 6]);

const fn any(name: &'static str, call: c_long) -> Call {
    (name, call, [0; 6])
}

const fn socket(name: &'static str, family: i32, kind: i32, protocol: i32) -> Call {
    (name, libc::SYS_socket, [family as c_ulong, kind as c_ulong, protocol as c_ulong, 0, 0, 0])
}

const fn option(name: &'static str, level: i32, option: i32) -> Call {
    (name, libc::SYS_setsockopt, [NO_FD, level as c_ulong, option as c_ulong, 0, 0, 0])
}

const NO_FD: c_ulong = -1_i32 as u32 as c_ulong;
const THREAD_IN_A_NAMESPACE: c_ulong = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_NEWNET) as c_ulong;
const IPPROTO_MPTCP: i32 = 262;
const TCP_ULP: i32 = 31;
const TIOCSTI: c_ulong = 0x5412;

const REFUSED: &[Call] = &[
    any("a program", libc::SYS_execve),
    any("a program by descriptor", libc::SYS_execveat),
    ("fork", libc::SYS_clone, [libc::SIGCHLD as c_ulong, 0, 0, 0, 0, 0]),
    ("vfork", libc::SYS_clone, [(libc::CLONE_VM | libc::CLONE_VFORK) as c_ulong, 0, 0, 0, 0, 0]),
    ("a thread in another network", libc::SYS_clone, [THREAD_IN_A_NAMESPACE, 0, 0, 0, 0, 0]),
    any("files", libc::SYS_openat),
    any("files, newer", libc::SYS_openat2),
    any("removing files", libc::SYS_unlinkat),
    any("anonymous files", libc::SYS_memfd_create),
    any("handles of files", libc::SYS_open_by_handle_at),
    any("bpf", libc::SYS_bpf),
    any("performance events", libc::SYS_perf_event_open),
    any("rings", libc::SYS_io_uring_setup),
    any("a ring that is there", libc::SYS_io_uring_enter),
    any("user faults", libc::SYS_userfaultfd),
    any("keys", libc::SYS_keyctl),
    any("keys, adding", libc::SYS_add_key),
    any("debugging", libc::SYS_ptrace),
    any("another's memory", libc::SYS_process_vm_readv),
    any("another's memory, writing", libc::SYS_process_vm_writev),
    any("a handle of a process", libc::SYS_pidfd_open),
    any("a descriptor of a process", libc::SYS_pidfd_getfd),
    any("a signal", libc::SYS_kill),
    any("a signal to a thread", libc::SYS_tkill),
    ("a signal to a thread of init", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
    any("namespaces", libc::SYS_unshare),
    any("another's namespaces", libc::SYS_setns),
    any("mounts", libc::SYS_mount),
    any("another root", libc::SYS_pivot_root),
    any("another filter", libc::SYS_seccomp),
    any("modules", libc::SYS_finit_module),
    any("personalities", libc::SYS_personality),
    any("capabilities", libc::SYS_capset),
    any("another user", libc::SYS_setresuid),
    any("a listener", libc::SYS_listen),
    any("an address", libc::SYS_bind),
    any("pairs of sockets", libc::SYS_socketpair),
    ("limits", libc::SYS_prlimit64, [0, 0, 1, 0, 0, 0]),
    ("limits of another", libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]),
    ("a mode of the process", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as c_ulong, 1, 0, 0, 0, 0]),
    ("input of a terminal", libc::SYS_ioctl, [NO_FD, TIOCSTI, 0, 0, 0, 0]),
    ("a lease", libc::SYS_fcntl, [NO_FD, libc::F_SETLEASE as c_ulong, 0, 0, 0, 0]),
    socket("unix sockets", libc::AF_UNIX, libc::SOCK_STREAM, 0),
    socket("netlink", libc::AF_NETLINK, libc::SOCK_RAW, 0),
    socket("packets", libc::AF_PACKET, libc::SOCK_RAW, 0),
    socket("raw IP", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
    socket("datagrams", libc::AF_INET, libc::SOCK_DGRAM, 0),
    socket("datagrams of IPv6", libc::AF_INET6, libc::SOCK_DGRAM, 0),
    socket("SCTP", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
    socket("MPTCP", libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP),
    socket("the kernel's ciphers", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    socket("virtual machines", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    option("a socket's mark", libc::SOL_SOCKET, libc::SO_MARK),
    option("a socket's filter", libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
    option("an upper protocol", libc::IPPROTO_TCP, TCP_ULP),
    option("tables of netfilter", libc::IPPROTO_IP, 64),
];
