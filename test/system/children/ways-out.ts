/** Ways out of a process by system calls, each with what it would give whoever finds it open. */

import type { Knowledge, Try } from './home.ts';
import { CALL, call, text } from './system-calls.ts';

export function kernel({ pins }: Knowledge): Record<string, Try> {
  const attribute = new Uint8Array(128);
  const pinned = Object.fromEntries(
    pins.map((pin) => [`bpf: open ${pin}`, () => call(CALL.bpf, BPF_OBJ_GET, addressOf(pin), 128)]),
  );
  return {
    ...pinned,
    'bpf: make a map': () => call(CALL.bpf, BPF_MAP_CREATE, attribute, 128),
    'bpf: load a program': () => call(CALL.bpf, BPF_PROG_LOAD, attribute, 128),
    'bpf: find a map by its number': () =>
      call(CALL.bpf, BPF_MAP_GET_FD_BY_ID, Uint8Array.of(1, 0, 0, 0, ...attribute), 128),
    io_uring: () => call(CALL.ioUringSetup, 4, attribute),
    userfaultfd: () => call(CALL.userfaultfd, 0),
    perf_event_open: () => call(CALL.perfEventOpen, attribute, 0, -1, -1, 0),
    'keyctl: the session keyring': () => call(CALL.keyctl, 0, -3, 1),
    memfd_create: () => call(CALL.memfdCreate, text('x'), 0),
    'load a module': () => call(CALL.initModule, attribute, 128, text('')),
    'another filter': () => call(CALL.seccomp, 1, 0, attribute),
    'be dumpable again': () => call(CALL.prctl, 4, 1, 0, 0, 0),
    'uid 0': () => call(CALL.setuid, 0),
    capabilities: () => call(CALL.capset, Uint8Array.of(0x22, 5, 8, 0x20, 0, 0, 0, 0), new Uint8Array(24).fill(0xff)),
    'a user namespace': () => call(CALL.unshare, CLONE_NEWUSER),
    'a user namespace by clone': () => call(CALL.clone, CLONE_NEWUSER | 17, 0, 0, 0, 0),
    'a process by clone3': () => call(CALL.clone3, new Uint8Array(88), 88),
    'a process by fork': () => call(CALL.fork),
    'another namespace': () => call(CALL.setns, 3, 0),
    mount: () => call(CALL.mount, text('none'), text('/tmp'), text('tmpfs'), 0, 0),
    chroot: () => call(CALL.chroot, text('/proc')),
    exec: () => call(CALL.execve, text('/node'), new Uint8Array(8), new Uint8Array(8)),
    'I/O ports': () => call(CALL.iopl, 3),
    'a limit of another process': () => call(CALL.prlimit, 1, 7, new Uint8Array(16), 0),
  };
}

export function processes({ pids }: Knowledge): Record<string, Try> {
  const memory = new Uint8Array(64);
  return Object.fromEntries(
    [...pids, 1, 2, process.ppid].flatMap((pid) =>
      Object.entries<Try>({
        'ptrace: attach': () => call(CALL.ptrace, 16, pid, 0, 0),
        'ptrace: seize': () => call(CALL.ptrace, 0x4206, pid, 0, 0),
        'read memory': () => call(CALL.processVmReadv, pid, memory, 1, memory, 1, 0),
        'write memory': () => call(CALL.processVmWritev, pid, memory, 1, memory, 1, 0),
        'take a descriptor': () => call(CALL.pidfdGetfd, call(CALL.pidfdOpen, pid, 0), 3, 0),
        signal: () => call(CALL.kill, pid, 9),
        'signal a thread': () => call(CALL.tgkill, pid, pid, pid === process.pid ? 0 : 9),
        'signal by queue': () => call(CALL.rtSigqueueinfo, pid, 9, new Uint8Array(128)),
        '/proc mem': () => open(`/proc/${pid}/mem`, 2),
        '/proc maps': () => open(`/proc/${pid}/maps`, 0),
        '/proc environ': () => open(`/proc/${pid}/environ`, 0),
        '/proc fd': () => open(`/proc/${pid}/fd/3`, 2),
        '/proc root': () => open(`/proc/${pid}/root`, 0),
      })
        // Itself it may signal: it can end itself in any case.
        .filter(([name]) => pid !== process.pid || name !== 'signal a thread')
        .map(([name, attempt]) => [`${name} of ${pid}`, attempt]),
    ),
  );
}

export function files({ paths }: Knowledge): Record<string, Try> {
  const own = [
    '/etc/passwd',
    '/app/src/roots/shellstream.ts',
    '/proc/self/status',
    '/proc/self/mem',
    '/sys',
    '/dev/mem',
    '/',
  ];
  return Object.fromEntries(
    [...paths, ...own].flatMap((path) => [
      [`read ${path}`, () => open(path, 0)],
      [`write ${path}`, () => open(path, 1)],
      [`remove ${path}`, () => call(CALL.unlink, text(path))],
      [`rename ${path}`, () => call(CALL.rename, text(path), text(`${path}.x`))],
      [`change the mode of ${path}`, () => call(CALL.chmod, text(path), 0o777)],
    ]),
  );
}

export function sockets({ sockets: known }: Knowledge): Record<string, Try> {
  const { AF_UNIX, AF_INET, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK, AF_XDP } = FAMILY;
  const unix = (path: string): Uint8Array => Uint8Array.of(AF_UNIX, 0, ...text(path));
  const port = Uint8Array.of(AF_INET, 0, 0x30, 0x39, 0, 0, 0, 0, ...new Uint8Array(8));
  return {
    ...Object.fromEntries(
      known.map((path) => [`fd 3 goes to ${path}`, () => call(CALL.connect, 3, unix(path), path.length + 3)]),
    ),
    unix: () => call(CALL.socket, AF_UNIX, STREAM, 0),
    'a pair': () => call(CALL.socketpair, AF_UNIX, STREAM, 0, new Uint8Array(8)),
    'netlink of routes': () => call(CALL.socket, AF_NETLINK, RAW, 0),
    'netlink of the firewall': () => call(CALL.socket, AF_NETLINK, RAW, 12),
    'packets of an interface': () => call(CALL.socket, AF_PACKET, RAW, 0x300),
    'raw IP': () => call(CALL.socket, AF_INET, RAW, 255),
    UDP: () => call(CALL.socket, AF_INET, DATAGRAM, 0),
    MPTCP: () => call(CALL.socket, AF_INET, STREAM, 262),
    SCTP: () => call(CALL.socket, AF_INET, STREAM, 132),
    'crypto of the kernel': () => call(CALL.socket, AF_ALG, 5, 0),
    vsock: () => call(CALL.socket, AF_VSOCK, STREAM, 0),
    XDP: () => call(CALL.socket, AF_XDP, RAW, 0),
    'another port': () => {
      const socket = call(CALL.socket, AF_INET, STREAM, 0);
      return socket < 0 ? socket : Math.max(call(CALL.bind, socket, port, 16), call(CALL.listen, socket, 1));
    },
    // The other terminators listen on the same port: a program on the group would take their connections.
    'a program that shares out connections': () =>
      Math.max(
        ...Array.from({ length: 64 }, (_, fd) => call(CALL.setsockopt, fd, 1, SO_ATTACH_REUSEPORT_CBPF, port, 16)),
        ...Array.from({ length: 64 }, (_, fd) => call(CALL.setsockopt, fd, 1, SO_ATTACH_REUSEPORT_EBPF, port, 4)),
      ),
    'a protocol above TCP': () =>
      Math.max(...Array.from({ length: 64 }, (_, fd) => call(CALL.setsockopt, fd, 6, 31, text('tls'), 3))),
  };
}

function open(path: string, flags: number): number {
  return Math.max(call(CALL.open, text(path), flags, 0), call(CALL.openat, AT_FDCWD, text(path), flags, 0));
}

/** The attribute of BPF_OBJ_GET would name the text's address; that it is not asked for at all is what counts. */
function addressOf(path: string): Uint8Array {
  return new Uint8Array([...new Uint8Array(8), ...text(path)].concat(Array.from(new Uint8Array(128))));
}

const FAMILY = { AF_UNIX: 1, AF_INET: 2, AF_NETLINK: 16, AF_PACKET: 17, AF_ALG: 38, AF_VSOCK: 40, AF_XDP: 44 } as const;
const [STREAM, DATAGRAM, RAW] = [1, 2, 3];
const [BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_OBJ_GET, BPF_MAP_GET_FD_BY_ID] = [0, 5, 7, 14];
const [SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF] = [51, 52];
const CLONE_NEWUSER = 0x1000_0000;
const AT_FDCWD = -100;
