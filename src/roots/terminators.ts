/** Where a gateway's terminators come from, as its configuration says: started by it, or let in at a socket. */
import { openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Config } from '../base/config.ts';
import { peerCredentialsOf } from '../dataplane/linux/index.ts';
import type { EnforcerNode } from './enforcer.ts';
import { admitTerminators, type HostOptions, hostTerminators } from './terminator-host.ts';

/** This program's entry, sources or build. */
const ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './shellstream.ts' : './shellstream.js', import.meta.url),
);
/** Whom terminators run as, unless configured. */
const USER = 'shellstream-terminator';

/** Disposing lets all of them go. */
export async function openTerminators(node: EnforcerNode): Promise<AsyncDisposable> {
  const { config } = node.world;
  const { socket, user } = config.terminators;
  if (socket === undefined) return await hostTerminators(node, await terminatorProcesses(config));
  const ids = typeof user === 'number' ? { uid: user, gid: user } : await idsOf(user ?? USER);
  return await admitTerminators(node, { path: socket, ...ids, credentialsOf: peerCredentialsOf });
}

async function terminatorProcesses({ terminators, instance, log }: Config): Promise<HostOptions> {
  const count = terminators.count === 'auto' ? availableParallelism() : terminators.count;
  const args = [ENTRY, 'terminator', '--instance', instance, '--log-level', log.level];
  const logFd = log.file === undefined ? {} : { logFd: openSync(log.file, 'a', 0o600) };
  return { count, command: { command: process.execPath, args: ['--disable-sigusr1', ...args] }, ...logFd };
}

async function idsOf(user: string): Promise<{ readonly uid: number; readonly gid: number }> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith(`${user}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) {
    throw new ShellstreamError('INTERNAL', `terminators run as ${user}, and there is no such user`);
  }
  return { uid: Number(uid), gid: Number(gid) };
}
