/** System calls by their number, from JavaScript: `syscall.c` beside this, built as `syscall.node`. For x86_64. */
import { fileURLToPath } from 'node:url';

/** The answer of the kernel, or minus the number of its error. */
export function call(number: number, ...given: (number | Uint8Array)[]): number {
  return addon.exports.call?.(number, ...given) ?? 0;
}

/** As C has it. */
export function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

export const CALL = {
  open: 2,
  socket: 41,
  connect: 42,
  bind: 49,
  listen: 50,
  socketpair: 53,
  setsockopt: 54,
  clone: 56,
  fork: 57,
  execve: 59,
  kill: 62,
  rename: 82,
  unlink: 87,
  chmod: 90,
  ptrace: 101,
  setuid: 105,
  capset: 126,
  rtSigqueueinfo: 129,
  prctl: 157,
  chroot: 161,
  mount: 165,
  iopl: 172,
  initModule: 175,
  tgkill: 234,
  keyctl: 250,
  openat: 257,
  unshare: 272,
  perfEventOpen: 298,
  prlimit: 302,
  setns: 308,
  processVmReadv: 310,
  processVmWritev: 311,
  seccomp: 317,
  memfdCreate: 319,
  bpf: 321,
  userfaultfd: 323,
  ioUringSetup: 425,
  pidfdOpen: 434,
  clone3: 435,
  pidfdGetfd: 438,
} as const;

const addon: { exports: { call?: (number: number, ...given: (number | Uint8Array)[]) => number } } = { exports: {} };
process.dlopen(addon, fileURLToPath(new URL('./syscall.node', import.meta.url)));
