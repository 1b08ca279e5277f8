import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { formatPrefix } from '../../protocol/net/prefix.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { ACCORD, APPRENTICE, adding, MASTER, MemoryHost, OWNER, spec } from './fixtures.ts';
import { MAX_PENDING, Proposals } from './proposals.ts';
import { openUnderlayRecords } from './records.ts';
import { Underlay } from './underlay.ts';

const CHANGE = adding(spec('10.9.0.0/24'));
const MINUTE = 60_000;
let folder: string;
let runs: AsyncDisposable[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-proposals-'));
});
afterEach(async () => {
  for (const run of runs) await run[Symbol.asyncDispose]();
  runs = [];
  await rm(folder, { recursive: true });
});

/** A run of the daemon, over records on a real disk. */
async function run(host: MemoryHost, level: PostureLevel = 5): Promise<Underlay> {
  const records = await openUnderlayRecords(folder, nodeCrypto.sha256);
  const routes = host.start(level, { records });
  runs.push(routes);
  await routes.apply(level);
  const proposals = new Proposals({
    clock: host.clock,
    record: records.proposals,
    sha256: nodeCrypto.sha256,
    randomBytes: nodeCrypto.randomBytes,
  });
  const tierNow = ({ subject, tier }: typeof OWNER) => (host.gone.has(subject) ? undefined : tier);
  return new Underlay({ accord: ACCORD, routes, proposals, tierNow });
}

const refusal = (attempt: Promise<unknown>): Promise<string> => attempt.then(() => 'none', reasonOf);

describe('a request token', () => {
  test('is good for one proposal, also over a restart', async () => {
    const host = await MemoryHost.create();
    const first = await run(host);
    const token = await first.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    const second = await run(host);
    expect(await second.propose(token, CHANGE)).toMatchObject({ state: 'pending', proposer: APPRENTICE });
    expect(await refusal(second.propose(token, CHANGE))).toBe('REQUEST_TOKEN_SPENT');
    const third = await run(host);
    expect(await refusal(third.propose(token, CHANGE))).toBe('REQUEST_TOKEN_SPENT');
    expect(third.proposals.all).toHaveLength(1);
  });

  test('runs out, is not guessed, and is on disk as a hash only', async () => {
    const host = await MemoryHost.create();
    const underlay = await run(host);
    const token = await underlay.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    expect(await readFile(join(folder, 'route-proposals.json'), 'utf8')).not.toContain(token);
    expect(await refusal(underlay.propose('0'.repeat(64), CHANGE))).toBe('REQUEST_TOKEN_INVALID');
    await host.clock.advance(MINUTE);
    expect(await refusal(underlay.propose(token, CHANGE))).toBe('REQUEST_TOKEN_EXPIRED');
  });

  test('of a tier that its holder does not have is not given', async () => {
    const host = await MemoryHost.create();
    host.gone.add(MASTER.subject);
    const underlay = await run(host);
    expect(await refusal(underlay.issueToken(MASTER.subject, 'master', MINUTE))).toBe('TIER_UNKNOWN');
  });

  test('that the posture refuses is not spent by it', async () => {
    const host = await MemoryHost.create();
    const underlay = await run(host);
    const token = await underlay.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    for (const level of [2, 1] as const) {
      await underlay.routes.apply(level);
      expect(await refusal(underlay.propose(token, CHANGE))).toBe('POSTURE_MODE_NOT_ALLOWED');
    }
    await underlay.routes.apply(3);
    expect((await underlay.propose(token, CHANGE)).state).toBe('pending');
  });

  test('of a record that was tampered with is void', async () => {
    const host = await MemoryHost.create();
    const token = await (await run(host)).issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    const path = join(folder, 'route-proposals.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('apprentice"', 'site_owner"'));
    const underlay = await run(host);
    expect(underlay.proposals.problem).toBeDefined();
    expect(await refusal(underlay.propose(token, CHANGE))).toBe('REQUEST_TOKEN_INVALID');
  });
});

describe('attack: an identity that was revoked', () => {
  test('queues nothing with a token of before, and the token is not spent by the attempt', async () => {
    const host = await MemoryHost.create();
    const underlay = await run(host);
    const token = await underlay.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    host.gone.add(APPRENTICE.subject);
    expect(await refusal(underlay.propose(token, CHANGE))).toBe('TIER_UNKNOWN');
    expect(underlay.proposals.all).toEqual([]);
    host.gone.clear();
    expect(await underlay.propose(token, CHANGE)).toMatchObject({ state: 'pending' });
  });

  test.each(['add', 'remove'] as const)(
    'has nothing carried out by who approves what it proposed: %s',
    async (action) => {
      const host = await MemoryHost.create();
      const underlay = await run(host);
      if (action === 'remove') await underlay.change(CHANGE, OWNER);
      const before = await host.network.routes();
      const token = await underlay.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
      const { id } = await underlay.propose(token, { ...CHANGE, action });
      host.gone.add(APPRENTICE.subject);
      host.witnessed.length = 0;
      expect(await refusal(underlay.approve(id, OWNER))).toBe('TIER_UNKNOWN');
      expect(await host.network.routes()).toEqual(before);
      expect(host.witnessed).toEqual([]);
      expect(underlay.proposals.all).toMatchObject([{ state: 'pending' }]);
    },
  );
});

describe('a proposal', () => {
  async function proposed(level: PostureLevel = 5) {
    const host = await MemoryHost.create();
    const underlay = await run(host, level);
    const token = await underlay.issueToken(APPRENTICE.subject, APPRENTICE.tier, MINUTE);
    const { id } = await underlay.propose(token, CHANGE);
    return { host, underlay, id };
  }

  test('changes nothing until it is approved, and then once', async () => {
    const { host, underlay, id } = await proposed();
    expect(await host.network.routes()).toEqual([]);
    await underlay.approve(id, MASTER);
    expect((await host.network.routes()).map(({ destination }) => formatPrefix(destination))).toEqual(['10.9.0.0/24']);
    expect(underlay.routes.recorded).toMatchObject([{ owner: APPRENTICE, state: 'standing' }]);
    expect(underlay.proposals.all).toMatchObject([{ state: 'done', decision: { by: MASTER.subject } }]);
    expect(await refusal(underlay.approve(id, MASTER))).toBe('MALFORMED');
  });

  test('is approved by nobody below master, and rejected for good', async () => {
    const { underlay, id } = await proposed();
    expect(await refusal(underlay.approve(id, APPRENTICE))).toBe('CAPABILITY_NOT_GRANTED');
    await underlay.reject(id, 'not now', MASTER);
    expect(await refusal(underlay.approve(id, OWNER))).toBe('MALFORMED');
    expect(underlay.proposals.all).toMatchObject([{ state: 'rejected', decision: { detail: 'not now' } }]);
  });

  test('of an apprentice is taken at 3, and not carried out there: its route would not stand', async () => {
    const { host, underlay, id } = await proposed(3);
    expect(await refusal(underlay.approve(id, OWNER))).toBe('POSTURE_MODE_NOT_ALLOWED');
    expect(await host.network.routes()).toEqual([]);
    expect(underlay.proposals.all).toMatchObject([{ state: 'pending' }]);
    await underlay.routes.apply(4);
    await underlay.approve(id, OWNER);
    expect(await host.network.routes()).toHaveLength(1);
  });

  test('does not push others out: the queue is bounded, and what waits stays', async () => {
    const { host, underlay, id } = await proposed();
    const many = new Proposals({
      clock: host.clock,
      record: { value: { tokens: [], proposals: underlay.proposals.all }, save: async () => {} },
      sha256: nodeCrypto.sha256,
      randomBytes: nodeCrypto.randomBytes,
    });
    for (let count = 1; count < MAX_PENDING; count += 1)
      await many.submit(await many.issue(OWNER, MINUTE), CHANGE, () => {});
    expect(await refusal(many.submit(await many.issue(OWNER, MINUTE), CHANGE, () => {}))).toBe('OVERLOADED');
    expect(many.all[0]?.id).toBe(id);
    expect(many.all).toHaveLength(MAX_PENDING);
  });
});

test('what is recorded on disk comes back as it was, link, gateway and all', async () => {
  const host = await MemoryHost.create();
  const route = { ...spec('2001:db8:5::/48'), gateway: spec('fd00::1/128').destination.address, metric: 7 };
  await (await run(host)).change(adding(route), OWNER);
  const again = await run(host);
  expect(again.routes.recorded).toMatchObject([{ route, owner: OWNER, class: 'ordinary', state: 'standing' }]);
  expect(again.routes.differences).toEqual([]);
});
