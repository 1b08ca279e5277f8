import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Addon from '../../native/sandbox/sandbox.d.ts';
import { ShellstreamError } from '../../protocol/errors.ts';

/** Where the build puts the addon. */
export const SANDBOX_ADDON = fileURLToPath(new URL('../../native/sandbox/sandbox.node', import.meta.url));

/**
 * The first thing of a process that is to be confined, before it opens anything: restarts it, at the same pid, with the same
 * arguments and standard streams, without io_uring. Node holds a ring from its start, and through a ring every call goes past
 * the filter. Returns in the process that has none, which a service manager's filter may have seen to already.
 *
 * @param keep other descriptors that it inherited and goes on to use
 * @throws ShellstreamError INTERNAL when the addon does not load, or a ring is open although they are refused
 */
export function prepareSandbox(keep: readonly number[] = []): void {
  const addon = sandboxAddon();
  attempt('prepared', () => {
    if (!addon.holdsRing()) return;
    addon.refuseRings();
    for (const fd of keep) addon.keepOverExec(fd);
    if (process.execve === undefined) throw new Error('this Node cannot start itself again');
    process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], process.env);
  });
}

/**
 * Processes that this one starts from now on get no io_uring, which spares them the restart of `prepareSandbox`. What this
 * process has itself stays. Where it may not, nothing happens, and they restart.
 */
export function spareRestarts(): void {
  try {
    sandboxAddon().refuseRings();
  } catch {
    // It takes CAP_SYS_ADMIN or no_new_privs, or was done before.
  }
}

/**
 * Takes from this process, all its threads and for good, every capability and every system call that one which already
 * listens does not need: from then on it opens no file, binds no address, starts no program. A refused call fails with
 * EPERM. So whatever is to be loaded or listened on comes before: a dynamic import or `require` of a file fails after.
 *
 * @param options `unixSockets`: connections to unix sockets stay possible, for a process that comes back to one; which of them it
 * reaches, files and their permissions say
 * @throws ShellstreamError INTERNAL when the addon does not load, a step fails, or `prepareSandbox` was left out. The process may then be confined in
 *   part and must end: to go on serving strangers without a sandbox is what this is to prevent.
 */
export function enterSandbox({ unixSockets = false } = {}): void {
  const addon = sandboxAddon();
  // Node makes these when they are first asked for, which takes calls that are refused later.
  void process.stdout;
  void process.stderr;
  attempt('entered', () => addon.enter(unixSockets));
}

function attempt(what: string, step: () => void): void {
  try {
    step();
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new ShellstreamError('INTERNAL', `the sandbox could not be ${what}: ${detail}`, { cause });
  }
}

/** Throws INTERNAL when it is not built or does not fit this machine. */
export function sandboxAddon(): typeof Addon {
  try {
    return createRequire(import.meta.url)(SANDBOX_ADDON) as typeof Addon;
  } catch (cause) {
    throw new ShellstreamError('INTERNAL', 'the native sandbox addon does not load', { cause });
  }
}
