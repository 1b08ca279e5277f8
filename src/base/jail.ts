/**
 * How a parent that is root starts a process that will talk to strangers: with files, processes and a user of its own, and
 * no privilege, but in the network namespace of the parent. bubblewrap makes the namespaces and mounts, setpriv changes the
 * user. What then goes on inside is `sandbox.ts`.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { ShellstreamError } from '../../protocol/errors.ts';

export interface JailOptions {
  /** Absolute path of a Node 24, as `process.execPath`. */
  readonly node: string;
  /** Absolute, without symbolic links: the folder of package.json. */
  readonly packageRoot: string;
  /** Absolute; below `src` or `dist/src` of the package. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly uid: number;
  readonly gid: number;
  /** All of its environment. No secrets: every user of the host can read a command line. */
  readonly env: Readonly<Record<string, string>>;
}

export interface JailCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/**
 * What to spawn. File descriptors 0, 1, 2 and those that `stdio` adds pass through. SIGTERM or SIGKILL to the command, and
 * the parent's death, kill what is inside: it never sees a signal. What it needs must be readable by everyone, its folder
 * need not be.
 *
 * @param exists Whether there is such a folder: dependencies may lie in the package or, hoisted, above it.
 * @throws ShellstreamError INTERNAL when the entry is outside of the package, the user is root, or there are no dependencies
 */
export function jailCommand(options: JailOptions, exists: (path: string) => boolean = existsSync): JailCommand {
  const { packageRoot, entry, args } = options;
  const top = dependenciesOf(packageRoot, exists);
  const within = relative(packageRoot, entry).match(/^(dist\/)?src\/.+/);
  if (within === null) throw new ShellstreamError('INTERNAL', `${entry} is no entry of the package ${packageRoot}`);
  const inside = (path: string): string => join(APPLICATION, relative(top, path));
  const base = join(packageRoot, within[1] ?? '');
  const parts = [join(top, 'node_modules')];
  // An installed package lies among the dependencies, which are there already.
  if (!relative(top, packageRoot).startsWith('node_modules/')) parts.push(...PARTS.map((part) => join(base, part)));
  return confined(options, new Map(parts.map((part) => [inside(part), part])), [...NODE_FLAGS, inside(entry), ...args]);
}

/** Why no jail can be had on this host; undefined: it can. Starts one, with this Node and user, that ends at once. */
export async function probeJail(options: Pick<JailOptions, 'node' | 'uid' | 'gid'>): Promise<string | undefined> {
  try {
    const { command, args } = confined({ ...options, env: {} }, new Map(), [...NODE_FLAGS, '--version']);
    await promisify(execFile)(command, [...args], { timeout: PROBE_MS, killSignal: 'SIGKILL' });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(-LONGEST_REASON) : String(error);
  }
}

const APPLICATION = '/app';
const NODE = '/node';
const BUBBLEWRAP = '/usr/bin/bwrap';
const SETPRIV = '/usr/bin/setpriv';
const PROBE_MS = 10_000;
const LONGEST_REASON = 1_000;

/** What a terminator loads, of a checkout or of its build. The privileged addon is not among it. */
const PARTS = ['package.json', 'src', 'protocol', 'native/crypto/crypto.node', 'native/sandbox/sandbox.node'];

/** Libraries of Node and setpriv. No program but these two is to be found. */
const SYSTEM = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/etc/ld.so.cache'];
const DEVICES = ['/dev/null', '/dev/urandom'];

/** Of a process that talks to strangers, in a jail or not. */
export const NODE_FLAGS: readonly string[] = [
  // Bytes of streams are outside V8's heap, and have it collect all of it every few megabytes unless it may grow.
  '--initial-old-space-size=128',
  '--max-semi-space-size=4',
  // A signal would open a debugger.
  '--disable-sigusr1',
  // Two ways from a string of a peer's to code.
  '--disable-proto=delete',
  '--disallow-code-generation-from-strings',
];

function confined(
  { node, uid, gid, env }: Pick<JailOptions, 'node' | 'uid' | 'gid' | 'env'>,
  files: ReadonlyMap<string, string>,
  nodeArgs: readonly string[],
): JailCommand {
  // setpriv would take 0 and drop nothing that counts.
  if (!isUnprivileged(uid) || !isUnprivileged(gid)) {
    throw new ShellstreamError('INTERNAL', `a jail is not for uid ${uid}, gid ${gid}`);
  }
  const required = new Map([[SETPRIV, SETPRIV], [NODE, node], ...files]);
  const args = [
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    // bubblewrap is the first process of the namespace, and all of it ends with that one. The terminator as the first would be
    // another's user to those that may end it, and outlive its gateway.
    ...['--die-with-parent', '--new-session', '--clearenv'],
    // What setpriv needs to change the user and to drop the rest.
    ...['--cap-drop', 'ALL', ...['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'].flatMap((name) => ['--cap-add', name])],
    ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value]),
    // Those that bubblewrap makes by itself are for root alone.
    ...parentsOf([...SYSTEM, ...DEVICES, ...required.keys()]).flatMap((folder) => ['--dir', folder]),
    ...SYSTEM.flatMap((path) => ['--ro-bind-try', path, path]),
    ...[...required].flatMap(([path, source]) => ['--ro-bind', source, path]),
    ...DEVICES.flatMap((path) => ['--dev-bind', path, path]),
    ...['--proc', '/proc', '--remount-ro', '/proc'],
    ...['--tmpfs', '/tmp', '--remount-ro', '/tmp', '--remount-ro', '/', '--chdir', '/'],
    ...['--', SETPRIV, '--reuid', String(uid), '--regid', String(gid), '--clear-groups', '--no-new-privs'],
    ...['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all'],
    ...[NODE, ...nodeArgs],
  ];
  return { command: BUBBLEWRAP, args };
}

/** Outermost first. */
function parentsOf(paths: readonly string[]): string[] {
  const above = (path: string): string[] => (path === '/' ? [] : [...above(dirname(path)), path]);
  return [...new Set(paths.flatMap((path) => above(dirname(path))))];
}

const isUnprivileged = (id: number): boolean => Number.isSafeInteger(id) && id > 0;

/** The folder whose node_modules has what the package depends on. */
function dependenciesOf(packageRoot: string, exists: (path: string) => boolean): string {
  for (let folder = packageRoot; ; folder = dirname(folder)) {
    if (exists(join(folder, 'node_modules', 'ws'))) return folder;
    if (folder === dirname(folder)) {
      throw new ShellstreamError('INTERNAL', `the dependencies of ${packageRoot} are not installed`);
    }
  }
}
