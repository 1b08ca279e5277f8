import { describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { consoleUse, id, mutation, ORIGIN, sha256, transit } from './fixtures.ts';
import { recordSnapshot } from './forensic-snapshot.ts';
import { LogDirectory } from './log-directory.ts';
import { compensate, undecidedIntents } from './reconcile.ts';
import { momentOf, type Recording } from './recorder.ts';
import { NOON, RecorderWorld } from './recorder-world.ts';
import { Records } from './records.ts';
import { forgetRecords } from './retention.ts';

const consoleLook: Recording = {
  case: 'consoleUse',
  value: { uid: 0, pid: 1, verb: 'status', argumentsHash: new Uint8Array(32), look: true },
};

describe('the recorder', () => {
  test('artifacts of one moment share one transaction, and are durable when their promise is kept', async () => {
    using world = new RecorderWorld({ level: 3 });
    const before = world.spool.size;
    const all = Array.from({ length: 50 }, (_, i) => world.recorder.record(transit(i)));
    expect(world.spool.size).toBe(before);
    await world.clock.advance(1);
    expect((await Promise.all(all)).map(({ at }) => at)).toEqual(all.map((_, i) => before + i));
    expect(world.durable).toBe(1);
  });

  test.each([2, 1] as const)('at posture %i each is anchored at once, by its own signed checkpoint', async (level) => {
    using world = new RecorderWorld({ level });
    const before = world.spool.size;
    for (let i = 0; i < 3; i += 1) {
      const promise = world.recorder.record(transit(i));
      expect(world.spool.size).toBe(before + i + 1);
      expect(Buffer.from(world.spool.checkpoint).toString()).toContain(`${ORIGIN}\n${before + i + 1}\n`);
      await promise;
    }
    expect(world.durable).toBe(3);
  });

  test('attack: an end that is told late, at a level that samples less, is evidence of the level at which it was', async () => {
    using world = new RecorderWorld({ level: 1 });
    const before = world.spool.size;
    const at = momentOf({ clock: world.clock, posture: () => ({ level: 1, epoch: 7n }) });
    world.level = 5;
    await world.clock.advance(3_000);
    const ends = Array.from({ length: 20 }, (_, i) => world.recorder.record(transit(i, Phase.OUTCOME), at));
    await Promise.all(ends);
    expect(world.spool.counters.leftOut).toBe(0);
    const records = world.spool.reader.entries(before, world.spool.size);
    const heads = records.map(({ opening }) => parseArtifact(opening?.record ?? new Uint8Array()));
    expect(heads).toHaveLength(20);
    for (const head of heads) expect(head).toMatchObject({ postureLevel: 1, postureEpoch: 7n, atMs: BigInt(NOON) });
  });

  test('the level at transit is in every record, and "all transits while at level 3" is one query, by tier', async () => {
    using world = new RecorderWorld({ level: 3 });
    for (const level of [3, 2, 3, 1] as const) {
      world.level = level;
      await world.record(transit(world.spool.size));
    }
    const records = new Records(sha256, world.spool.reader, new LogDirectory(world.folder.logPath));
    const found = records
      .transitsAt({ tier: 'journeyman' }, 3)
      .map(({ opening }) => parseArtifact(opening?.record ?? new Uint8Array()));
    expect(found.map(({ body }) => body.case === 'sessionTransit' && body.value.postureLevelAtTransit)).toEqual([3, 3]);
    expect(records.transitsAt({ tier: 'master' }, 3, { limit: 1 })).toHaveLength(1);
    expect(() => records.transitsAt({ tier: 'apprentice' }, 3)).toThrow('CAPABILITY_NOT_GRANTED');
    expect(() => records.transitsAt({ tier: undefined }, 3)).toThrow('CAPABILITY_NOT_GRANTED');
  });

  test('a record asked for by too low a tier is refused; to others it comes with its proof', async () => {
    using world = new RecorderWorld({ level: 3 });
    const { at } = await world.record(consoleUse);
    const publisher = await world.folder.publisher(world.spool);
    await publisher.publish();
    const records = new Records(sha256, world.spool.reader, new LogDirectory(world.folder.logPath));
    for (const tier of ['apprentice', 'journeyman', 'master', undefined] as const) {
      await expect(records.read({ tier }, at, publisher.published)).rejects.toThrow('CAPABILITY_NOT_GRANTED');
    }
    const proven = await records.read({ tier: 'site_owner' }, at, publisher.published);
    expect(proven).toMatchObject({ index: at, kind: 'consoleUse', size: publisher.published });
    expect(await records.read({ tier: 'site_owner' }, 0, publisher.published)).toBeUndefined();
  });

  test('what is full refuses sessions, and takes outcomes, posture and the console', async () => {
    using world = new RecorderWorld({ level: 3 }, { budgetBytes: 400_000, reserveBytes: 150_000 });
    let number = 0;
    const open = async (): Promise<void> => {
      number += 1;
      await world.record(transit(number));
    };
    await expect(untilRefused(open)).resolves.toBe('EVIDENCE_FULL');
    expect(world.spool.room.isFull).toBe(true);
    await world.record(transit(1, Phase.OUTCOME));
    await world.record(consoleUse);
    // Or whoever may only look would use up, at level 1, what orders need.
    await expect(world.record(consoleLook)).rejects.toThrow('EVIDENCE_FULL');
    // In one batch: the intent is refused, the console is not.
    const both = Promise.allSettled([world.recorder.record(transit(90_000)), world.recorder.record(consoleUse)]);
    await world.clock.advance(1);
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  test('an intent stands open until its outcome; a crash’s are compensated, once', async () => {
    using world = new RecorderWorld({ level: 3 });
    await world.record(transit(1));
    await world.record(transit(1, Phase.OUTCOME));
    await world.record(transit(2));
    await world.record(mutation(3));
    expect(undecidedIntents(world.spool.reader).map(({ body }) => body.case)).toEqual([
      'sessionTransit',
      'networkMutation',
    ]);
    expect(await compensate(world.recorder, world.spool.reader, 'CONNECTION_LOST')).toBe(2);
    expect(await compensate(world.recorder, world.spool.reader, 'CONNECTION_LOST')).toBe(0);
    const [last] = world.spool.reader.entries(world.spool.size - 2, world.spool.size - 1);
    expect(parseArtifact(last?.opening?.record ?? new Uint8Array()).body).toMatchObject({
      case: 'sessionTransit',
      value: { phase: Phase.COMPENSATION, sessionId: id(2), intent: 2n, endReason: 607 },
    });
  });

  test('retention keeps the record of an intent that stands open', async () => {
    using world = new RecorderWorld({ level: 3 });
    await world.record(transit(1));
    const { at } = await world.record(transit(2));
    await world.record(transit(1, Phase.OUTCOME));
    forgetRecords(world.spool, world.spool.size);
    expect(undecidedIntents(world.spool.reader)).toMatchObject([{ intent: { at } }]);
  });

  test('several that are one are next to each other, or not there', async () => {
    using world = new RecorderWorld({ level: 1 });
    const places = await world.recorder.recordAll([mutation(1), mutation(2), consoleUse]);
    expect(places.map(({ at }) => at - (places[0]?.at ?? 0))).toEqual([0, 1, 2]);
    expect(world.durable).toBe(1);
  });
});

describe('a forensic snapshot', () => {
  test('of a large node is cut into records that parse, durable together, each vouched for by the last', async () => {
    using world = new RecorderWorld({ level: 1 });
    const routes = Array.from({ length: 10_000 }, (_, i) => {
      return {
        destination: { address: Uint8Array.of(10, i >> 8, i & 255, 0), length: 24 },
        interface: 'shs0',
        gateway: Uint8Array.of(10, 0, 0, 1),
      };
    });
    const sessions = Array.from({ length: 10_000 }, (_, i) => {
      return {
        sessionId: id(i),
        peerId: 'spiffe://beta.example/shell/operator',
        tier: 3 as const,
        pending: i % 2 === 0,
      };
    });
    const tunnels = Array.from({ length: 1_000 }, () => ({
      interface: 'shs0',
      publicKey: new Uint8Array(32),
      endpoint: Uint8Array.of(1, 2, 3, 4),
    }));
    const before = world.spool.size;
    const state = { atBootNs: 5n, peers: [], tunnels, routes, sessions };
    const { at } = await recordSnapshot(world.recorder, id(1), state, { changeEpoch: 7n, late: false });
    expect(world.durable).toBe(1);
    const records = world.spool.reader
      .entries(before, at + 1)
      .map(({ opening }) => opening?.record ?? new Uint8Array());
    expect(records).toHaveLength(4 + 40 + 40 + 1);
    const bodies = records.map((record) => parseArtifact(record).body);
    expect(bodies.at(-1)).toMatchObject({
      case: 'forensicSnapshot',
      value: {
        tunnels: 1_000,
        routes: 10_000,
        sessions: 10_000,
        parts: records.slice(0, -1).map((record) => sha256(record)),
      },
    });
    expect(bodies.flatMap((body) => (body.case === 'snapshotPart' ? body.value.routes : []))).toHaveLength(10_000);
  });
});

async function untilRefused(action: () => Promise<void>): Promise<string> {
  for (;;) {
    try {
      await action();
    } catch (error) {
      return reasonOf(error);
    }
  }
}
