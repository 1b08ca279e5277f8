/**
 * `npm run test:image`: builds the container image, loads it into a store of its own, and runs it: the command line as it
 * comes, and a gateway with three capabilities, a read-only root and a real Workload API. Takes a minute, so `npm test`
 * leaves it out. Needs root, podman and runc. The last line is `N passed, N failed`.
 */
import { strict as assert } from 'node:assert';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { attempt, type Finished, type Running, run, start } from '../support/processes.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const IMAGE = 'localhost/shellstream:0.1.0';
const CAPABLE = [
  ...['--cap-drop', 'all', '--cap-add', 'net_admin,bpf,perfmon'],
  ...['--security-opt', `seccomp=${join(REPOSITORY, 'deploy/image/seccomp.json')}`],
];
const HOST = ['--device', '/dev/net/tun', '--volume', '/sys/fs/bpf:/sys/fs/bpf'];
const INSTANCE = `i${process.pid}`;
const AGENT = '/run/spire/agent/public';
const ACCORD_HEAD = 'apiVersion: shellstream.accord/v1\nid: site-alpha\nextends: default\n';
const ACCORD = `${ACCORD_HEAD}serial: 1\nsigner: none\nminimumVersion: 1\n`;

await using parts = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'shs-image-'));
parts.defer(() => rm(directory, { recursive: true, force: true }));
// Podman leaves its parent group, empty; one in use cannot be removed.
parts.defer(async () => {
  const groups = ['-depth', '-path', '*/libpod_parent*', '-type', 'd', '-exec', 'rmdir', '{}', ';'];
  await attempt('find', ['/sys/fs/cgroup', ...groups]);
});
const store = ['--root', join(directory, 'store'), '--runroot', join(directory, 'run')];
// Neither an overlay nor the cgroups of systemd are everywhere.
const podmanOptions = [...store, '--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--runtime', 'runc'];

let passed = 0;
let failed = 0;
try {
  await main();
} catch (error) {
  failed += 1;
  console.error(error);
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function main(): Promise<void> {
  const archive = join(directory, 'shellstream.tar');
  const built = await run('sh', ['deploy/image/build.sh', archive], { cwd: REPOSITORY, timeoutMs: 300_000 });
  process.stdout.write(built.stdout.replace(`${directory}/`, ''));
  await podman('load', '--input', archive);

  await check('runs as nobody in particular, and helps', async () => {
    const { stdout } = await podman(...contained());
    assert.match(stdout, /^Usage: shellstream/);
    assert.equal((await podman(...contained(), '--version')).stdout, '0.1.0\n');
  });

  await check('holds no shell and no package manager', async () => {
    for (const program of ['/bin/sh', '/usr/bin/bash', '/usr/bin/apt-get', '/usr/bin/dpkg', '/usr/bin/npm']) {
      const { code } = await attempt('podman', [...podmanOptions, ...contained('--entrypoint', program)]);
      assert.equal(code, 127, `${program} is there`);
    }
  });

  await check('finds its addons and eBPF programs, and without capabilities says so', async () => {
    const { findings } = await doctor();
    for (const part of ['native kernel', 'native bpf', 'native crypto', 'node'])
      assert.equal(findings.get(part), 'ok', part);
    assert.equal(findings.get('privileges'), 'missing');
  });

  await check('lacks nothing of the host with three capabilities, TUN and bpffs', async () => {
    const { findings } = await doctor('--user', '0', ...CAPABLE, ...HOST);
    for (const part of ['privileges', 'bpffs', 'tun', 'wireguard']) assert.equal(findings.get(part), 'ok', part);
  });

  await check('is a gateway with three capabilities on a read-only root', aGateway);
}

async function aGateway(): Promise<void> {
  await using owned = new AsyncDisposableStack();
  const domain = owned.use(
    await startTrustDomain({ name: 'alpha.test', directory: join(directory, 'ca'), clock: systemClock }),
  );
  const { socketPath } = await domain.register({ path: '/gateway', tier: 'master' });
  const etc = join(directory, 'etc');
  await mkdir(etc);
  await writeFile(join(etc, 'main.yaml'), configuration(basename(socketPath)));
  await writeFile(join(etc, 'accord.yaml'), ACCORD);
  const name = `shs-image-${process.pid}`;
  owned.defer(() => rm(`/sys/fs/bpf/shellstream/${INSTANCE}`, { recursive: true, force: true }));
  owned.defer(async () => void (await attempt('podman', [...podmanOptions, 'rm', '--force', '--ignore', name])));
  const volumes = [`${etc}:/etc/shellstream:ro`, `${dirname(socketPath)}:${AGENT}`].flatMap((at) => ['--volume', at]);
  const places = ['/run', '/var/lib/shellstream'].flatMap((at) => ['--tmpfs', at]);
  const gateway: Running = owned.use(
    start('podman', [
      ...podmanOptions,
      ...contained('--name', name, '--user', '0', '--read-only', ...CAPABLE, ...HOST, ...volumes, ...places),
      ...['gateway', '--config', '/etc/shellstream/main.yaml'],
    ]),
  );
  await gateway.line(/"msg":"ready"/, 60_000);
  const asked = ['exec', name, '/usr/bin/node', '/usr/bin/shellstream', 'status', '--instance', INSTANCE, '--json'];
  const status = JSON.parse((await podman(...asked)).stdout);
  assert.equal(status.instance, INSTANCE);
  assert.equal(status.tunnel.device, `shs${INSTANCE}-0`);
  await podman('stop', '--time', '15', name);
  assert.match((await gateway.finished).stderr, /"msg":"gateway stopped"/);
}

async function doctor(...options: readonly string[]): Promise<{ findings: ReadonlyMap<string, string> }> {
  const { stdout } = await attempt('podman', [...podmanOptions, ...contained(...options), 'doctor', '--json']);
  const { findings }: { findings: { name: string; state: string }[] } = JSON.parse(stdout);
  return { findings: new Map(findings.map(({ name, state }) => [name, state])) };
}

/** `podman run` of the image. Limits that a host without room to raise its own can give; a network of its own, empty. */
function contained(...options: readonly string[]): readonly string[] {
  const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
  return ['run', '--rm', '--network', 'none', ...limits, ...options, IMAGE];
}

function podman(...args: readonly string[]): Promise<Finished> {
  return run('podman', [...podmanOptions, ...args], { timeoutMs: 120_000 });
}

async function check(what: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
    passed += 1;
    console.log(`  ✓ ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`  ✗ ${what}`);
    console.error(error);
  }
}

function configuration(socket: string): string {
  return `apiVersion: shellstream/v1
instance: ${INSTANCE}
site: { trustDomain: alpha.test }
wireguard: { addresses: [10.9.0.1/24] }
workloadApi: { socket: ${AGENT}/${socket} }
`;
}
