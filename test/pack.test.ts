import { mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { jailCommand } from '../src/base/jail.ts';
import { jailUserOfHost } from '../src/base/jail-user.ts';
import { attempt, type Finished, type ProcessOptions, run, start } from './support/processes.ts';
import { describeWith } from './support/requirements.ts';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));

/**
 * What a user of the package has: the tarball, installed where nothing of this tree is near. Node strips no types inside
 * node_modules, so a package of sources would install and then not start.
 */
describeWith(['addon crypto', 'addon kernel', 'bpf objects'], 'the npm package', () => {
  let elsewhere = '';
  let contents: string[] = [];

  beforeAll(async () => {
    elsewhere = await mkdtemp(join(tmpdir(), 'shellstream-pack-'));
    await npm(['pack', '--pack-destination', elsewhere], REPOSITORY);
    const [tarball = ''] = await readdir(elsewhere);
    contents = (await run('tar', ['-tzf', join(elsewhere, tarball)])).stdout
      .split('\n')
      .filter((path) => path !== '' && !path.endsWith('/'))
      .map((path) => path.replace(/^package\//, ''));
    await npm(['init', '--yes'], elsewhere);
    await npm(['install', '--prefer-offline', '--no-audit', '--no-fund', `./${tarball}`], elsewhere);
  }, 400_000);

  afterAll(() => rm(elsewhere, { recursive: true, force: true }));

  test('holds what runs, the addons, the eBPF programs, the accords and the licence', () => {
    for (const path of [
      'bin/shellstream.js',
      'bin/shellstream-credential-composer.js',
      'dist/src/roots/shellstream.js',
      'dist/deploy/spire/main.js',
      'dist/native/crypto/crypto.node',
      'dist/native/kernel/kernel.node',
      'dist/native/sandbox/sandbox.node',
      'dist/native/bpf/shellstream.o',
      'dist/protocol/accords/default.yaml',
      'dist/browser/verify-log.js',
      'deploy/shellstream.example.yaml',
      'deploy/quartermaster.example.yaml',
      'deploy/ansible/posture-transition-test.yml',
      'deploy/ansible/tasks/posture-level.yml',
      'deploy/spire/tiers.example.yaml',
      'LICENSE',
      'NOTICE',
    ]) {
      expect(contents).toContain(path);
    }
  });

  test('holds no source, no test, no key, and nothing of the development trust domain', () => {
    const unwanted = contents.filter((path) =>
      /\.(ts|pem|key)$|\.test\.|(^|\/)(certs-dev|test|bench|fuzz)\//.test(path),
    );
    expect(unwanted).toEqual([]);
  });

  test('runs with npx, and knows its version', async () => {
    expect((await npx(['shellstream', '--help'])).stdout).toMatch(/^Usage: shellstream/);
    expect((await npx(['shellstream', '--version'])).stdout.trim()).toBe('0.1.0');
  });

  test('runs its plugin for SPIRE, which answers the handshake of a host', async () => {
    const plugin = join(elsewhere, 'node_modules/shellstream/bin/shellstream-credential-composer.js');
    const options = { env: { CredentialComposer: 'CredentialComposer', TMPDIR: elsewhere } };
    await using running = start(process.execPath, [plugin], options);
    expect(await running.line(/^1\|/)).toMatch(/^1\|1\|unix\|\S+\|grpc$/);
  });

  test('finds its addons and its eBPF programs where it is installed', async () => {
    // The doctor of an unprivileged or unconfigured host finds things to mend; those four it must not.
    const { stdout } = await npmAttempt(['exec', '--offline', '--', 'shellstream', 'doctor', '--json'], elsewhere);
    const { findings } = report.parse(JSON.parse(stdout));
    expect(findings.filter(({ name }) => name.startsWith('native '))).toEqual([
      { name: 'native kernel', state: 'ok' },
      { name: 'native bpf', state: 'ok' },
      { name: 'native sandbox', state: 'ok' },
      { name: 'native crypto', state: 'ok' },
    ]);
  });

  describeWith(['root', 'bwrap', 'addon sandbox'], 'as root', () => {
    test('starts in the jail of terminators where it is installed', async () => {
      const packageRoot = await realpath(join(elsewhere, 'node_modules/shellstream'));
      const entry = join(packageRoot, 'dist/src/roots/shellstream.js');
      const user = await jailUserOfHost('pack');
      const place = { node: await realpath(process.execPath), packageRoot, entry, ...user, env: {} };
      const { command, args } = jailCommand({ ...place, args: ['terminator', '--socket', '/nowhere'] });
      // All of its modules load there, and then it has no gateway.
      expect(await attempt(command, args)).toMatchObject({ code: 1, stderr: expect.stringContaining('/nowhere') });
    });
  });

  const npx = (args: readonly string[]): Promise<Finished> => npm(['exec', '--offline', '--', ...args], elsewhere);
});

const report = z.object({ findings: z.array(z.object({ name: z.string(), state: z.string() })) });

const npm = (args: readonly string[], cwd: string): Promise<Finished> => run('npm', args, npmOptions(cwd));
const npmAttempt = (args: readonly string[], cwd: string): Promise<Finished> => attempt('npm', args, npmOptions(cwd));

/** On the Node of this process, and without what an `npm run` around it left in the environment. */
function npmOptions(cwd: string): ProcessOptions {
  const inherited = Object.keys(process.env).filter((name) =>
    /^npm_(package|lifecycle|config_local_prefix)/.test(name),
  );
  const env = {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
  };
  return { cwd, env, timeoutMs: 170_000 };
}
