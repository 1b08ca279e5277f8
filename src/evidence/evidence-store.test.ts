import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MS_A_DAY } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { MemoryWitness } from '../../test/support/memory-witness.ts';
import { turnEnded } from '../base/clock.ts';
import { restore } from './backup.ts';
import { nodeEd25519 } from './ed25519.ts';
import type { EvidenceStore } from './evidence-store.ts';
import { consoleUse, mutation, ORIGIN, sha256 } from './fixtures.ts';
import { StoreWorld } from './store-world.ts';
import { witnessAt } from './witness-http.ts';
import { Witnesses } from './witnesses.ts';

/** A witness answers in real time, which simulated time here must not overtake. */
const WITNESS_MS = 3_600_000;

test('what is published bears the cosignatures that are needed; while they are not to be had it stays as it was', async () => {
  using world = new StoreWorld();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: WITNESS_MS, ask: [{ url: witness.url, key: witness.key }] };
  let key = '';
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
    [key = ''] = store.state.verifierKeys;
  }
  const outsider = { witnesses: [witness.key], quorum: 1 };
  const whole = await world.verified(key, outsider);
  expect(whole.told).toEqual([]);
  expect(witness.latest.size).toBe(whole.size);

  witness.isAway = true;
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
    expect(store.state).toMatchObject({
      problem: undefined,
      publishProblem: expect.stringContaining('503'),
      quorum: 1,
    });
    expect(store.state.witnesses).toMatchObject([{ name: witness.key.name, problem: expect.stringContaining('503') }]);
  }
  expect(await world.verified(key, outsider)).toMatchObject({ size: whole.size, told: [] });
});

test('attack: spool and log put back to an older state: a witness saw more, so nothing is recorded', async () => {
  using world = new StoreWorld();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: WITNESS_MS, ask: [{ url: witness.url, key: witness.key }] };
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
  }
  cpSync(world.path, join(world.folder.path, 'older'), { recursive: true });
  {
    await using store = await world.open({ witnesses });
    for (let i = 0; i < 3; i += 1) await store.record(mutation(i));
  }
  rmSync(world.path, { recursive: true });
  cpSync(join(world.folder.path, 'older'), world.path, { recursive: true });

  await using store = await world.open({ witnesses });
  expect(store.state.problem).toMatch(/EVIDENCE_ROLLED_BACK.*it saw \d+ entries, of which \d+ are left/);
  await expect(store.record(mutation(9))).rejects.toThrow('EVIDENCE_FAILED');
  // Nor is anything recorded when it is opened again by itself.
  await world.clock.advance(30_000);
  expect(store.state.problem).toContain('EVIDENCE_ROLLED_BACK');
});

test('attack: the spool alone put back: the published log holds more', async () => {
  using world = new StoreWorld();
  {
    await using store = await world.open();
    await store.record(consoleUse);
  }
  cpSync(join(world.path, 'spool'), join(world.folder.path, 'older'), { recursive: true });
  {
    await using store = await world.open();
    await store.record(consoleUse);
  }
  rmSync(join(world.path, 'spool'), { recursive: true });
  cpSync(join(world.folder.path, 'older'), join(world.path, 'spool'), { recursive: true });
  await using store = await world.open();
  expect(store.state.problem).toMatch(/EVIDENCE_ROLLED_BACK.*it lost \d+/);
});

test.each(['taken away', 'replaced'])(
  'attack: the spool’s file is %s while it is written to: told; put back, it goes on',
  async (how) => {
    using world = new StoreWorld();
    await using store = await world.open();
    await store.record(consoleUse);
    const path = join(world.path, 'spool', 'evidence.db');
    renameSync(path, `${path}.away`);
    if (how === 'replaced') copyFileSync(`${path}.away`, path);
    // What comes before it is noticed goes with the file that is held open.
    const { at } = await store.record(consoleUse);
    await world.until(() => store.state.problem !== undefined);
    expect(store.state.problem).toContain(`evidence.db was ${how} while it was written to`);
    await expect(store.record(consoleUse)).rejects.toThrow('EVIDENCE_FAILED');
    renameSync(`${path}.away`, path);
    await world.until(() => store.state.problem === undefined);
    expect((await store.record(consoleUse)).at).toBe(at + 1);
  },
);

test('the key is changed while the gateway runs: both sign, who knows either believes it, then the new one signs alone', async () => {
  using world = new StoreWorld();
  await using store = await world.open();
  await store.record(consoleUse);
  const [former = ''] = store.state.verifierKeys;
  const [, next = ''] = await store.rotateKey('begin');
  await expect(store.rotateKey('begin')).rejects.toThrow('being changed already');
  expect(statSync(join(world.path, 'log.key.next')).mode & 0o777).toBe(0o600);
  const secrets = [...world.secretOf('log.key'), ...world.secretOf('log.key.next')];
  const seen = await world.checkpoint(store, 2);
  expect(await world.verified(former)).toMatchObject({ told: [] });
  expect(await world.verified(next, { held: [seen] })).toMatchObject({ told: [] });

  // What waits while the keys change is recorded with the new one; ends of sessions are not even asked for meanwhile.
  expect(store.isReopening).toBe(false);
  const changed = store.rotateKey('finish');
  const waiting = store.record(mutation(1));
  let isChanged = false;
  void changed.finally(() => {
    isChanged = true;
  });
  const held = new Set<boolean>();
  for (; !isChanged; await turnEnded()) held.add(store.isReopening);
  expect(held).toContain(true);
  const { at } = await waiting;
  expect(await changed).toEqual([next]);
  expect(store.isReopening).toBe(false);
  await world.checkpoint(store, 1, at + 1);
  expect(await world.verified(next, { held: [seen] })).toMatchObject({ told: [], signedBy: [ORIGIN] });
  expect(await world.verified(former)).toMatchObject({ told: ['checkpoint: no known key signed it'] });
  expect(existsSync(join(world.path, 'log.key.next'))).toBe(false);
  await expect(store.rotateKey('finish')).rejects.toThrow('no change of the key was begun');
  expect(secrets.filter((secret) => world.lines.join('\n').includes(secret))).toEqual([]);
});

test('a restart in the midst of a change goes on with both keys, and after it with the new one', async () => {
  using world = new StoreWorld();
  let keys: readonly string[];
  {
    await using store = await world.open();
    keys = await store.rotateKey('begin');
  }
  {
    await using store = await world.open();
    expect(store.state).toMatchObject({ problem: undefined, verifierKeys: keys });
    await store.rotateKey('finish');
  }
  await using store = await world.open();
  expect(store.state).toMatchObject({ problem: undefined, verifierKeys: keys.slice(1) });
});

test('while the next key’s signature cannot be published the former one stays', async () => {
  using world = new StoreWorld();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: WITNESS_MS, ask: [{ url: witness.url, key: witness.key }] };
  await using store = await world.open({ witnesses });
  witness.isAway = true;
  await store.rotateKey('begin');
  await expect(store.rotateKey('finish')).rejects.toThrow('EVIDENCE_UNWITNESSED');
  expect(store.state.verifierKeys).toHaveLength(2);
});

test('entries and tiles go when their time is over; what is left is proved from the minimum index on', async () => {
  using world = new StoreWorld();
  const held: Uint8Array[] = [];
  let key = '';
  let minimumIndex = 0;
  for (let day = 0; day < 7; day += 1) {
    await using store = await world.open({ retentionDays: 1, logDays: 3 });
    await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(day * 300 + i, Phase.OUTCOME)));
    held.push(await world.checkpoint(store, 1));
    await world.clock.advance(10_000);
    await world.until(() => day < 5 || store.state.firstEntry > minimumIndex);
    minimumIndex = store.state.firstEntry;
    [key = ''] = store.state.verifierKeys;
    world.sleep(MS_A_DAY);
  }
  // Two or three days of it are gone, in whole tiles.
  expect(minimumIndex % 256).toBe(0);
  expect(minimumIndex).toBeGreaterThan(300);
  expect(existsSync(join(world.logPath, 'tile', 'entries', '000'))).toBe(false);
  expect(world.lines.filter((line) => line.includes(`"minimumIndex":${minimumIndex}`))).toHaveLength(1);
  const report = await world.verified(key, { held, minimumIndex });
  expect(report).toMatchObject({ told: [], entries: report.size - minimumIndex });
  expect(report.unprovable.length).toBeGreaterThan(0);
  expect(report.unprovable.length).toBeLessThan(held.length);
});

describe('a clock that jumps', () => {
  const YEAR = 365 * MS_A_DAY;
  const place = { retentionDays: 90, logDays: 90 };

  /** A run of the gateway in which what is due is looked at; `during` before that. Resolves with the records that are left. */
  async function run(world: StoreWorld, during: (store: EvidenceStore) => unknown = () => undefined) {
    await using store = await world.open(place);
    await during(store);
    await world.clock.advance(20_000);
    const rows = store.reader?.entries(0, store.state.entries) ?? [];
    const { firstEntry, retentionHeld } = store.state;
    return { firstEntry, retentionHeld, records: rows.filter(({ opening }) => opening !== undefined).length };
  }

  const fill = (store: EvidenceStore) =>
    store.recordAll(Array.from({ length: 600 }, (_, i) => mutation(i, Phase.OUTCOME)));

  test('attack: an NTP attacker who sets the clock a year ahead cannot make the log forget, nor by a restart', async () => {
    using world = new StoreWorld();
    await run(world, fill);
    const ahead = () => world.clock.setWall(world.clock.now() + YEAR);
    const held = expect.stringContaining('364 days ahead');
    expect(await run(world, ahead)).toMatchObject({ records: 600, firstEntry: 0, retentionHeld: held });
    expect(world.lines.filter((line) => line.includes('364 days ahead'))).toHaveLength(1);
    expect(await run(world)).toMatchObject({ records: 600, firstEntry: 0, retentionHeld: held });
    world.clock.setWall(world.clock.now() - YEAR);
    expect(await run(world)).toMatchObject({ records: 600, retentionHeld: '' });
  });

  test('what is due by a clock that is right is forgotten when the operator says that it is', async () => {
    using world = new StoreWorld();
    await run(world, fill);
    world.clock.setWall(world.clock.now() + YEAR);
    expect(await run(world, (store) => store.trustClock())).toMatchObject({ records: 0, retentionHeld: '' });
  });

  test('time that really passes is enough, asleep or awake', async () => {
    using world = new StoreWorld();
    await run(world, fill);
    world.sleep(89 * MS_A_DAY);
    expect(await run(world)).toMatchObject({ records: 600 });
    world.sleep(2 * MS_A_DAY);
    expect(await run(world)).toMatchObject({ records: 0 });
  });
});

describe('a copy put back', () => {
  test('of all there was goes on where the former left off, with every proof', async () => {
    using world = new StoreWorld();
    const backup = join(world.folder.path, 'copy');
    let held: Uint8Array;
    {
      await using store = await world.open();
      await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(i)));
      held = await world.checkpoint(store, 1);
      const copying = store.backUp();
      await store.record(consoleUse);
      const { path, size } = await copying;
      // What comes meanwhile is in it or not.
      expect(path).toBe(join(world.path, 'backup'));
      expect([store.state.entries - 1, store.state.entries]).toContain(size);
      expect(statSync(path).mode & 0o777).toBe(0o700);
      expect(readdirSync(path).sort()).toEqual(['log', 'spool']);
      renameSync(path, backup);
    }
    world.lose();
    await restore(backup, world.restoring([held]));
    await using store = await world.open();
    expect(store.state).toMatchObject({ problem: undefined });
    await store.record(consoleUse);
    await world.checkpoint(store, 1);
    expect(await world.verified(store.state.verifierKeys[0] ?? '', { held: [held] })).toMatchObject({ told: [] });
  });

  test.each(['held', 'log', 'witness'] as const)('attack: an older state is refused: %s shows more', async (who) => {
    using world = new StoreWorld();
    await using witness = await MemoryWitness.start();
    const ask = [{ url: witness.url, key: witness.key }];
    const backup = join(world.folder.path, 'copy');
    let held: Uint8Array;
    {
      await using store = await world.open({ witnesses: { quorum: 1, timeoutMs: WITNESS_MS, ask } });
      renameSync((await store.backUp()).path, backup);
      await store.record(consoleUse);
      held = await world.checkpoint(store, 2);
    }
    if (who === 'log') rmSync(join(world.path, 'spool'), { recursive: true });
    else world.lose();
    const parts = world.restoring(who === 'held' ? [held] : []);
    const all = [{ key: witness.key, ask: witnessAt(witness.url, WITNESS_MS, world.clock) }];
    const witnesses = new Witnesses({ sha256, ed25519: nodeEd25519, clock: world.clock, quorum: 1, all });
    await expect(restore(backup, who === 'witness' ? { ...parts, witnesses } : parts)).rejects.toThrow(
      'EVIDENCE_ROLLED_BACK',
    );
    expect(existsSync(join(world.path, 'spool'))).toBe(false);
    expect(existsSync(join(world.path, 'restoring'))).toBe(false);
  });

  test('with a flipped byte is refused, and so is one over a spool that is there', async () => {
    using world = new StoreWorld();
    const backup = join(world.folder.path, 'copy');
    {
      await using store = await world.open();
      await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(i)));
      await world.checkpoint(store, 1);
      renameSync((await store.backUp()).path, backup);
    }
    await expect(restore(backup, world.restoring())).rejects.toThrow('put it aside first');
    world.lose();
    const tile = join(backup, 'log', 'tile', 'entries', '000');
    const bytes = readFileSync(tile);
    writeFileSync(tile, bytes.with(700, (bytes[700] ?? 0) ^ 1));
    await expect(restore(backup, world.restoring())).rejects.toThrow('tile/0/000');
  });
});
