/**
 * Network namespaces that a test makes and leaves nothing of:
 *
 *     await using left = await createNamespace('left');
 *     await using right = await createNamespace('right');
 *     await connect({ in: left, name: 'wan', addresses: ['10.0.0.1/24'] }, { in: right, name: 'wan', addresses: ['10.0.0.2/24'] });
 *     await left.run('ping', ['-c1', '10.0.0.2']);
 */
import { fileURLToPath } from 'node:url';
import { attempt, type Finished, type ProcessOptions, type Running, run, start } from './processes.ts';

export interface Namespace extends AsyncDisposable {
  /** As `ip netns` knows it: unique to this process. */
  readonly name: string;
  /** For setns and for drivers that take a path. */
  readonly path: string;
  /** Runs inside, to the end; rejects on another code than 0. */
  run(command: string, args: readonly string[], options?: ProcessOptions): Promise<Finished>;
  /** As `run`, but any exit code is an answer. */
  attempt(command: string, args: readonly string[], options?: ProcessOptions): Promise<Finished>;
  /** Starts a process inside; it is ended with the namespace at the latest. */
  start(command: string, args: readonly string[], options?: ProcessOptions): Running;
  /** Starts a TypeScript file inside, on the Node of this process. `file` is relative to the repository. */
  startNode(file: string, args?: readonly string[], options?: ProcessOptions): Running;
  /** Hands over something to be released with the namespace, before it and in reverse order. */
  own(resource: AsyncDisposable | Disposable): void;
}

/** Makes a namespace with its loopback up. `label` is for the reader of `ip netns list`; letters, digits and hyphens. */
export async function createNamespace(label: string): Promise<Namespace> {
  if (!/^[a-z0-9-]{1,32}$/.test(label)) throw new Error(`not a label for a namespace: ${label}`);
  await removeLeftovers();
  made += 1;
  const name = `${PREFIX}${process.pid}-${made}-${label}`;
  await using owned = new AsyncDisposableStack();
  await run('ip', ['netns', 'add', name]);
  owned.defer(async () => void (await run('ip', ['netns', 'delete', name])));
  await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const resources = owned.move();

  const inside = (command: string, args: readonly string[]): string[] => ['netns', 'exec', name, command, ...args];
  const startInside = (command: string, args: readonly string[], options?: ProcessOptions): Running =>
    resources.use(start('ip', inside(command, args), options));
  return {
    name,
    path: `/var/run/netns/${name}`,
    run: (command, args, options) => run('ip', inside(command, args), options),
    attempt: (command, args, options) => attempt('ip', inside(command, args), options),
    start: startInside,
    startNode: (file, args = [], options) =>
      startInside(process.execPath, [fileURLToPath(new URL(file, REPOSITORY)), ...args], options),
    own: (resource) => void resources.use(resource),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export interface LinkEnd {
  readonly in: Namespace;
  /** At most 15 characters; only this namespace sees it, so it need not be unique. */
  readonly name: string;
  /** With prefix length; IPv6 ones are usable at once, without duplicate address detection. */
  readonly addresses: readonly string[];
}

/** A veth pair, made inside the namespaces so that no name of it is ever seen on the host; both ends up. It goes with them. */
export async function connect(left: LinkEnd, right: LinkEnd): Promise<void> {
  const pair = ['type', 'veth', 'peer', 'name', right.name, 'netns', right.in.name];
  await run('ip', ['-n', left.in.name, 'link', 'add', left.name, ...pair]);
  for (const end of [left, right]) {
    for (const address of end.addresses) {
      const options = address.includes(':') ? ['nodad'] : [];
      await run('ip', ['-n', end.in.name, 'address', 'add', address, 'dev', end.name, ...options]);
    }
    await run('ip', ['-n', end.in.name, 'link', 'set', end.name, 'up']);
  }
}

const REPOSITORY = new URL('../../', import.meta.url);
const PREFIX = 'shs-test-';
let made = 0;

/** Those of test processes that were killed and could not clean up. */
async function removeLeftovers(): Promise<void> {
  if (made > 0) return;
  const { stdout } = await run('ip', ['netns', 'list']);
  for (const line of stdout.split('\n')) {
    const name = line.split(' ')[0] ?? '';
    const pid = name.startsWith(PREFIX) ? Number(name.slice(PREFIX.length).split('-')[0]) : Number.NaN;
    // Another run may remove it in the same moment.
    if (pid > 0 && !isProcess(pid)) await attempt('ip', ['netns', 'delete', name]);
  }
}

function isProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
