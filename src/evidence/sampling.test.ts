import { describe, expect, test } from 'vitest';
import { DEFAULT_RATES, dayOf, type LeftOutOpening, MS_A_DAY, type Opening } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { id, mutation, sha256, transit } from './fixtures.ts';
import { NOON, RecorderWorld } from './recorder-world.ts';
import { forgetLeftOut } from './retention.ts';

describe('sampling, from the recorder to an outsider', () => {
  test('notarises about a tenth at 5, half at 4, all below; every mutation', async () => {
    for (const [level, least, most] of [
      [5, 60, 145],
      [4, 420, 580],
      [3, 1_000, 1_000],
    ] as const) {
      using world = new RecorderWorld({ level });
      const places = await world.recordMany(1_000);
      const notarised = places.filter((place) => place.in === 'log').length;
      expect(notarised).toBeGreaterThanOrEqual(least);
      expect(notarised).toBeLessThanOrEqual(most);
      expect(await world.record(mutation(1))).toMatchObject({ in: 'log' });
    }
  });

  test('a session that was left out at 5 and ends at 3 is notarised at its end', async () => {
    using world = new RecorderWorld({ level: 5 });
    const places = await world.recordMany(50);
    const leftOut = places.findIndex((place) => place.in === 'left-out');
    world.level = 3;
    expect(await world.record(transit(leftOut, Phase.OUTCOME))).toMatchObject({ in: 'log' });
  });

  test('commits to the keys of two days before the first record, and reveals none before its day is over', async () => {
    using world = new RecorderWorld({ level: 5 });
    await world.recordMany(10);
    const day = dayOf(NOON);
    expect(world.publicEntries()).toMatchObject([
      { kind: 'key-committed', day },
      { kind: 'key-committed', day: day + 1 },
    ]);
    await world.clock.advance(MS_A_DAY);
    await world.recordMany(10);
    expect(world.publicEntries().slice(2)).toMatchObject([
      { kind: 'left-out', day, first: 0 },
      { kind: 'key-committed', day: day + 2 },
      { kind: 'key-revealed', day },
    ]);
  });

  test('a clock that is put back does not bring back a day whose key is known', async () => {
    using world = new RecorderWorld({ level: 5 });
    await world.recordMany(10);
    await world.clock.advance(2 * MS_A_DAY);
    await world.recordMany(10);
    world.clock.setWall(NOON);
    await world.recordMany(10);
    world.restart();
    await world.recordMany(10);
    world.recorder.closeBatches();
    expect((await world.publish()).findings).toEqual([]);
  });

  test('an auditor repeats every choice, over restarts and days, and finds nothing', async () => {
    using world = await threeDays();
    const { report, audit } = await world.audit();
    expect(report.findings).toEqual([]);
    expect(audit.findings).toEqual([]);
    expect(report.keys.size).toBe(2);
    expect(new Set([...Array(400).keys()].map((i) => audit.verdict(id(i))))).toEqual(
      new Set(['notarised', 'left out']),
    );
    expect(audit.verdict(id(77_777))).toBe('deleted');
  });

  test('and still nothing when left-out records of old days are forgotten', async () => {
    using world = await threeDays();
    expect(forgetLeftOut(world.spool, sha256, dayOf(NOON) + 1)).toBeGreaterThan(50);
    const { audit } = await world.audit();
    expect(audit.findings).toEqual([]);
  });

  test('a left-out record taken out of its batch, exchanged, or not shown is named', async () => {
    using world = await threeDays();
    for (const change of [
      (leftOut: Map<number, LeftOutOpening>) => leftOut.delete(7),
      (leftOut: Map<number, LeftOutOpening>) => leftOut.set(7, leftOut.get(8) ?? { commitment: new Uint8Array(32) }),
    ]) {
      const { audit } = await world.audit(({ leftOut }) => change(leftOut));
      expect(audit.findings.map(({ kind }) => kind)).toContain('record');
    }
  });

  test('a notarised record hidden from the auditor is no forgotten one for long: the others show the gap', async () => {
    using world = await threeDays();
    const { audit } = await world.audit(({ entries, records }) => {
      const [hidden = 0] = [...records.keys()];
      records.delete(hidden);
      entries.delete(hidden);
    });
    expect(audit.findings).toMatchObject([{ kind: 'deleted', count: 1 }]);
  });

  test('a forged record, or another’s salt, is not what the log commits to', async () => {
    using world = await threeDays();
    const forge = (change: (opening: Opening) => Opening) =>
      world.audit(({ records }) => {
        const [[index, opening] = [0, undefined]] = records;
        if (opening !== undefined) records.set(index, change(opening));
      });
    const flipped = (bytes: Uint8Array): Uint8Array => bytes.with(9, (bytes[9] ?? 0) ^ 1);
    for (const change of [
      (opening: Opening): Opening => ({ ...opening, record: flipped(opening.record) }),
      (opening: Opening): Opening => ({ ...opening, salt: flipped(opening.salt) }),
      (opening: Opening): Opening => ({ record: Uint8Array.of(0, ...opening.record), salt: opening.salt.subarray(1) }),
    ]) {
      const { audit } = await forge(change);
      expect(audit.findings[0]).toMatchObject({ kind: 'record', why: 'it is not what the entry commits to' });
    }
  });

  test('a session that was left out although its key said otherwise is named', async () => {
    using world = await threeDays();
    // By the stricter rates of another accord most of what was left out should not have been.
    const { audit } = await world.audit(() => undefined, { ...DEFAULT_RATES, 5: 100 });
    expect(audit.findings[0]).toMatchObject({
      kind: 'record',
      why: expect.stringContaining('should have been notarised'),
    });
  });
});

/** Sessions at 5 on three days, with a restart between. */
async function threeDays(): Promise<RecorderWorld> {
  const world = new RecorderWorld({ level: 5 });
  await world.recordMany(150);
  await world.recordMany(150, 0, Phase.OUTCOME);
  await world.clock.advance(MS_A_DAY);
  world.restart();
  await world.recordMany(150, 150);
  await world.clock.advance(MS_A_DAY);
  await world.recordMany(100, 300);
  world.recorder.closeBatches();
  return world;
}
