import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type JailCommand, type JailOptions, jailCommand, probeJail } from '../../src/base/jail.ts';
import { jailUserOfHost } from '../../src/base/jail-user.ts';
import { eventually } from '../support/eventually.ts';
import { createNamespace } from '../support/namespaces.ts';
import { treeOf } from '../support/process-tree.ts';
import { run, start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const JAILER = fileURLToPath(new URL('./children/jailer.ts', import.meta.url));

describeWith(['root', 'namespaces', 'bwrap', 'addon crypto', 'addon sandbox'], 'the jail of a terminator', () => {
  // mkdtemp makes it 0700: nobody but root passes through.
  const folder = mkdtempSync(join(tmpdir(), 'shellstream-jail-'));
  const packageRoot = join(folder, 'checkout');
  let options: JailOptions;

  beforeAll(async () => {
    copyCheckout(packageRoot);
    const entry = join(packageRoot, 'src/jail/children/jailed.ts');
    const user = await jailUserOfHost(`jail-test-${process.pid}`);
    options = { node: process.execPath, packageRoot, entry, args: ['0', folder], ...user, env: { NAME: 'value' } };
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test('can be had here', async () => {
    expect(await probeJail(options)).toBeUndefined();
    expect(await probeJail({ ...options, node: join(folder, 'no-node') })).toMatch(/no-node/);
  });

  test('shows a process itself and its own files, under a user without privilege', async () => {
    await using jailed = await enter(jailCommand(options));
    const { report } = jailed;
    expect(report).toMatchObject({ uid: options.uid, gid: options.gid, crypto: 32 });
    // bubblewrap is the first of its namespace.
    expect(report.processes.toSorted()).toEqual(['1', String(report.pid)].toSorted());
    expect(report.groups.filter((group) => group !== options.gid)).toEqual([]);
    expect(report.environment.toSorted()).toEqual(['NAME', 'PWD']);
    expect(report.root.toSorted()).toEqual(
      ['app', 'dev', 'etc', 'lib', 'lib64', 'node', 'proc', 'tmp', 'usr'].filter((name) => report.root.includes(name)),
    );
    expect(report.application.toSorted()).toEqual(['native', 'node_modules', 'package.json', 'protocol', 'src']);
    expect(report.programs).toEqual(['setpriv']);
    expect(report.hidden).toEqual([]);
    expect(report.written).toEqual([]);
  });

  test('gives no capability to it, and it has confined itself, as seen from outside', async () => {
    await using jailed = await enter(jailCommand(options));
    const status = readFileSync(`/proc/${jailed.inner}/status`, 'utf8');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      expect(status).toMatch(new RegExp(`^${set}:\\t0{16}$`, 'm'));
    }
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(status).toMatch(new RegExp(`^Uid:${`\\t${options.uid}`.repeat(4)}$`, 'm'));
    for (const kind of ['pid', 'mnt', 'ipc', 'uts']) {
      expect(readlinkSync(`/proc/${jailed.inner}/ns/${kind}`)).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    }
  });

  test('keeps the network: it answers on a port of the caller', async () => {
    await using jailed = await enter(jailCommand(options));
    const socket = connect(jailed.report.address.port, '127.0.0.1');
    expect(String((await once(socket, 'data'))[0])).toBe('from inside');
    socket.destroy();
  });

  test('keeps the network namespace that the caller was started in', async () => {
    await using site = await createNamespace('jail');
    const { command, args } = jailCommand(options);
    await using jailed = await enter({ command: 'nsenter', args: [`--net=${site.path}`, command, ...args] });
    const { port } = jailed.report.address;
    const script = `require('node:net').connect(${port}, '127.0.0.1').pipe(process.stdout)`;
    expect((await site.run(process.execPath, ['-e', script])).stdout).toBe('from inside');
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)('%s to the jail takes what is inside with it', async (signal) => {
    await using jailed = await enter(jailCommand(options));
    jailed.child.kill(signal);
    await eventually('the inner process is gone', () => isGone(jailed.inner));
  });

  test('a parent that is killed takes what is inside with it', async () => {
    const { command, args } = jailCommand(options);
    await using parent = start(process.execPath, [JAILER, command, ...args]);
    const jail = Number((await parent.line(/^started /)).split(' ')[1]);
    const inside = await treeOf(jail);
    expect(inside.length).toBeGreaterThan(1);
    using _ = { [Symbol.dispose]: () => end(inside) };
    parent.kill('SIGKILL');
    await eventually('all of the jail is gone', () => inside.every(isGone));
  });

  test('a parent that is killed takes one that does not listen to its enforcer with it', async () => {
    const deaf = join(packageRoot, 'src/jail/children/deaf.ts');
    writeFileSync(deaf, "import { writeSync } from 'node:fs'; writeSync(3, '.'); for (;;) {}\n");
    const { command, args } = jailCommand({ ...options, entry: deaf });
    await using parent = start(process.execPath, [JAILER, command, ...args]);
    const inside = await treeOf(Number((await parent.line(/^started /)).split(' ')[1]));
    using _ = { [Symbol.dispose]: () => end(inside) };
    parent.kill('SIGKILL');
    await eventually('all of the jail is gone', () => inside.every(isGone));
  });

  test('finds dependencies beside the package, as npm install lays them out', async () => {
    const modules = join(folder, 'elsewhere/node_modules');
    const installed = join(modules, 'shellstream');
    mkdirSync(join(installed, 'dist/src/roots'), { recursive: true });
    cpSync(join(REPOSITORY, 'node_modules/ws'), join(modules, 'ws'), { recursive: true });
    const entry = join(installed, 'dist/src/roots/main.js');
    writeFileSync(join(installed, 'package.json'), '{"type":"module"}');
    writeFileSync(entry, "import 'ws'; console.log(import.meta.url);");
    const { command, args } = jailCommand({ ...options, packageRoot: installed, entry, args: [] });
    expect((await run(command, args)).stdout).toBe('file:///app/node_modules/shellstream/dist/src/roots/main.js\n');
  });
});

const reported = z.object({
  pid: z.int(),
  uid: z.int(),
  gid: z.int(),
  groups: z.array(z.int()),
  environment: z.array(z.string()),
  processes: z.array(z.string()),
  root: z.array(z.string()),
  application: z.array(z.string()),
  programs: z.array(z.string()),
  hidden: z.array(z.string()),
  written: z.array(z.string()),
  crypto: z.int(),
  address: z.object({ port: z.int() }),
});

interface Jailed extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Of the process inside, as this host numbers it. */
  readonly inner: number;
  readonly report: z.infer<typeof reported>;
}

async function enter({ command, args }: JailCommand): Promise<Jailed> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  const exited = once(child, 'exit');
  const channel = child.stdio[3];
  if (!(channel instanceof Socket)) throw new Error('no descriptor 3');
  channel.on('error', () => channel.destroy());
  const said = once(createInterface(channel), 'line').then(([line]) => String(line));
  const ended = exited.then(([code, signal]) => Promise.reject(new Error(`the jail ended with ${signal ?? code}`)));
  ended.catch(() => undefined);
  const line = await Promise.race([said, ended]);
  const inside = await treeOf(child.pid ?? 0);
  const report = reported.parse(JSON.parse(line));
  // Not the highest of them: the numbers of processes begin anew when they have run out.
  const inner = inside.find((pid) => numberInside(pid) === report.pid);
  if (inner === undefined) throw new Error(`none of ${inside.join(', ')} is ${report.pid} inside`);
  return {
    child,
    inner,
    report,
    async [Symbol.asyncDispose]() {
      end([child.pid ?? 0, ...inside]);
      await exited;
    },
  };
}

/** As much of this checkout as the jailed process loads; node_modules by a link, which a jail follows. */
function copyCheckout(target: string): void {
  for (const part of [
    'protocol',
    'src/base',
    'native/crypto/crypto.node',
    'native/sandbox/sandbox.node',
    'package.json',
  ]) {
    cpSync(join(REPOSITORY, part), join(target, part), { recursive: true });
  }
  cpSync(fileURLToPath(new URL('./children', import.meta.url)), join(target, 'src/jail/children'), { recursive: true });
  symlinkSync(join(REPOSITORY, 'node_modules'), join(target, 'node_modules'));
}

/** As the innermost of its namespaces numbers it. */
function numberInside(pid: number): number {
  return Number(/^NSpid:.*?(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** What a jail that does not hold would leave behind. */
function end(pids: readonly number[]): void {
  for (const pid of pids) if (!isGone(pid)) process.kill(pid, 'SIGKILL');
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}
