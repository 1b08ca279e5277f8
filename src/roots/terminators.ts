/** Where a gateway's terminators come from, as its configuration says: started by it, or let in at a socket. */
import { openSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Config } from '../base/config.ts';
import { jailCommand, NODE_FLAGS, probeJail } from '../base/jail.ts';
import { type JailUser, jailUserOfHost, TERMINATOR_USER } from '../base/jail-user.ts';
import type { Logger } from '../base/logger.ts';
import { spareRestarts } from '../base/sandbox.ts';
import { peerCredentialsOf } from '../dataplane/linux/index.ts';
import type { EnforcerNode } from './enforcer.ts';
import { admitTerminators, type Command, hostTerminators } from './terminator-host.ts';

/** Disposing lets all of them go. */
export async function openTerminators(node: EnforcerNode): Promise<AsyncDisposable> {
  const { config, log } = node.world;
  const { socket, user, count } = config.terminators;
  if (socket !== undefined) {
    const ids = await idsOf(user ?? TERMINATOR_USER);
    return await admitTerminators(node, { path: socket, ...ids, credentialsOf: peerCredentialsOf });
  }
  return await hostTerminators(node, {
    count: count === 'auto' ? availableParallelism() : count,
    command: await terminatorCommand(config, log),
    ...(config.log.file === undefined ? {} : { logFd: openSync(config.log.file, 'a', 0o600) }),
  });
}

/** This program's entry, sources or build, and the package that it is in. */
const IS_BUILD = import.meta.url.endsWith('.js');
const ENTRY = realpathSync(fileURLToPath(new URL(`./shellstream.${IS_BUILD ? 'js' : 'ts'}`, import.meta.url)));
const PACKAGE = realpathSync(fileURLToPath(new URL(IS_BUILD ? '../../../' : '../../', import.meta.url)));

/**
 * What starts a terminator on this host: in a jail, where this process may make one. One that may not, as in a container,
 * starts it as its own user; then its sandbox alone stands between a terminator and what that user may.
 * @param entry instead of this program's own
 * @throws ShellstreamError INTERNAL on a host where a jail could be had and is not
 */
export async function terminatorCommand(config: Config, log: Logger, entry = ENTRY): Promise<Command> {
  const { instance, terminators } = config;
  const node = realpathSync(process.execPath);
  const args = ['terminator', '--instance', instance, '--log-level', config.log.level];
  spareRestarts();
  if (await mayJail()) {
    const user = terminators.user === undefined ? await jailUserOfHost(instance) : await idsOf(terminators.user);
    const why = await probeJail({ node, ...user });
    if (why !== undefined) {
      throw new ShellstreamError('INTERNAL', `terminators get no jail (apt-get install bubblewrap?): ${why}`);
    }
    return jailCommand({ node, packageRoot: PACKAGE, entry, args, ...user, env: {} });
  }
  log.warn('terminators run as the user of the gateway: this process may not give them another', {});
  return { command: node, args: [...NODE_FLAGS, entry, ...args] };
}

/** Namespaces and mounts take CAP_SYS_ADMIN, another user CAP_SETUID. */
async function mayJail(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return [CAP_SYS_ADMIN, CAP_SETUID].every((bit) => (effective & (1n << bit)) !== 0n);
}

const CAP_SETUID = 7n;
const CAP_SYS_ADMIN = 21n;

async function idsOf(user: string | number): Promise<JailUser> {
  if (typeof user === 'number') return { uid: user, gid: user };
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith(`${user}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) {
    throw new ShellstreamError('INTERNAL', `terminators run as ${user}, and there is no such user`);
  }
  return { uid: Number(uid), gid: Number(gid) };
}
