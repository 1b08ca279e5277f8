import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseStatement } from '../../protocol/revocation/index.ts';
import { systemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { FACTS } from '../control/fixtures.ts';
import { MemoryGateway } from '../control/memory-view.ts';
import { startControl } from '../control/server.ts';
import { FakeWorld } from './fixtures.ts';

const ISSUER = 'spiffe://alpha.test/revocation';
const PERSON = 'spiffe://alpha.test/person';

let world: AsyncDisposableStack;
let folder: string;
let socket: string;
let view: MemoryGateway;
let offered: Uint8Array[];

beforeEach(async () => {
  world = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), 'shs-revoke-'));
  world.defer(() => rm(folder, { recursive: true, force: true }));
  socket = join(folder, 'run', 'control.sock');
  view = new MemoryGateway(systemClock, FACTS);
  offered = [];
  view.revocations = {
    issuers: [{ issuer: ISSUER, last: 4 }],
    stale: undefined,
    documents: offered,
    offer: async (signed) => offered.push(Uint8Array.from(signed)) > 0,
  };
  world.use(
    await startControl({
      path: socket,
      access: { siteOwners: new Set([0]) },
      view,
      clock: systemClock,
      log: silentLogger,
      credentialsOf: () => ({ uid: 0, gid: 0, pid: 1 }),
    }),
  );
});
afterEach(() => world.disposeAsync());

const run = (...args: string[]) => new FakeWorld().run(...args);
const key = (): string => join(folder, 'key');
const keygen = () => run('revoke', 'keygen', '--issuer', ISSUER, '--out', key());
const order = (...what: string[]) =>
  run('revoke', ...what, '--socket', socket, '--key', key(), '--reason', 'stolen', '--json');

describe('revoke', () => {
  it('keygen makes a key for its user alone, tells the public half, and writes over nothing', async () => {
    expect((await keygen()).out).toMatch(
      /issuer: spiffe:\/\/alpha.test\/revocation\n {6}publicKey: [A-Za-z0-9+/]{43}=\n/,
    );
    expect((await stat(key())).mode & 0o777).toBe(0o600);
    expect(await keygen()).toMatchObject({ code: 1 });
  });

  it.each<[readonly string[], object]>([
    [['session', 'ab'.repeat(16)], { kind: 'session', session: 'ab'.repeat(16) }],
    [['identity', PERSON], { kind: 'identity', identity: PERSON }],
    [['token', 'cd'.repeat(32)], { kind: 'token', token: 'cd'.repeat(32) }],
    [
      ['issued-before', '2026-01-31T12:00:00Z', '--trust-domain', 'alpha.test'],
      { kind: 'issued-before', timeMs: Date.UTC(2026, 0, 31, 12), of: { trustDomain: 'alpha.test' } },
    ],
  ])('%j signs the next statement and hands it in', async (args, what) => {
    await keygen();
    expect(await order(...args)).toMatchObject({ code: 0 });
    const [document] = offered.map((bytes) => parseStatement(bytes).content);
    expect(document).toMatchObject({ issuer: ISSUER, number: 5, reason: 'stolen', what });
  });

  it.each([
    ['session', 'x'],
    ['identity', 'person'],
    ['token', 'cd'],
    ['issued-before', 'yesterday', '--trust-domain', 'alpha.test'],
  ])('%s %s is a usage error, and nothing is asked', async (...args) => {
    await keygen();
    expect(await order(...args)).toMatchObject({ code: 2 });
    expect(offered).toEqual([]);
  });

  it('revocations list shows issuers and statements', async () => {
    await keygen();
    await order('identity', PERSON);
    const { out } = await run('revocations', 'list', '--socket', socket);
    expect(out).toContain('whole and recent');
    expect(out).toContain(PERSON);
  });
});
