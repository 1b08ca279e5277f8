import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { openIdentitySource, verifySvid } from '../src/identity/index.ts';
import { attempt, start } from '../test/support/processes.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('the command serves two federated domains by default and stops when told', async () => {
  await using served = start(process.execPath, [MAIN, '--dir', folder]);
  await served.line(/"ready":true/);
  await using a = open('site-a.test/operator.sock');
  await using b = open('site-b.test/gateway.sock');
  await Promise.all([a.ready(AbortSignal.timeout(20_000)), b.ready(AbortSignal.timeout(20_000))]);
  const { spiffeId } = verifySvid(a.current().chain, b.bundles, systemClock.now());
  expect(spiffeId).toBe('spiffe://site-a.test/operator');
  served.kill('SIGTERM');
  expect((await served.finished).code).toBe(0);
});

test('the command serves the entries it is given, with their tier and scopes', async () => {
  const entry = 'one.test/ops/kim=master,net,logs';
  await using served = start(process.execPath, [MAIN, '--dir', folder, '--domain', 'one.test', '--entry', entry]);
  const line = await served.line(/"entry"/);
  const expected = {
    entry: 'spiffe://one.test/ops/kim',
    socket: join(folder, 'one.test/ops-kim.sock'),
    tier: 'master',
  };
  expect(JSON.parse(line)).toEqual(expected);
  await served.line(/"ready":true/);
  await using source = open('one.test/ops-kim.sock');
  await source.ready(AbortSignal.timeout(20_000));
  const token = await source.fetchSat('x', AbortSignal.timeout(20_000));
  const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  expect(claims).toMatchObject({ tier: 'master', scopes: ['net', 'logs'] });
});

test.each([[[]], [['--dir', 'x', '--ttl', '1']], [['--dir', 'x', '--ttl', 'soon']]])(
  'usage is told for %j',
  async (args) => {
    const { code, stderr } = await attempt(process.execPath, [MAIN, ...args], { cwd: folder });
    expect(code).toBe(2);
    expect(stderr).toContain('usage:');
  },
);

function open(socket: string): ReturnType<typeof openIdentitySource> {
  return openIdentitySource({ socketPath: join(folder, socket), clock: systemClock, random: Math.random });
}
