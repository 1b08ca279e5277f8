import { describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import {
  type Audit,
  auditRecords,
  DEFAULT_RATES,
  dayOf,
  type LeftOutOpening,
  type LogEntry,
  type LogReport,
  MS_A_DAY,
  type Opening,
  parseArtifact,
  parseEntry,
  verifyLog,
} from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { nodeEd25519 } from './ed25519.ts';
import {
  consoleUse,
  EvidenceFolder,
  id,
  LOG_KEY,
  mutation,
  notarisation,
  ORIGIN,
  sha256,
  transit,
} from './fixtures.ts';
import { recordSnapshot } from './forensic-snapshot.ts';
import { LogDirectory } from './log-directory.ts';
import { compensate, undecidedIntents } from './reconcile.ts';
import { Recorder, type RecorderParts, type Recording } from './recorder.ts';
import { Records } from './records.ts';
import { forgetLeftOut, forgetRecords } from './retention.ts';
import type { Spool, SpoolParts } from './spool.ts';

const NOON = 20_600 * MS_A_DAY + MS_A_DAY / 2;

const consoleLook: Recording = {
  case: 'consoleUse',
  value: { uid: 0, pid: 1, verb: 'status', argumentsHash: new Uint8Array(32), look: true },
};

describe('the recorder', () => {
  test('artifacts of one moment share one transaction, and are durable when their promise is kept', async () => {
    using world = new World({ level: 3 });
    const before = world.spool.size;
    const all = Array.from({ length: 50 }, (_, i) => world.recorder.record(transit(i)));
    expect(world.spool.size).toBe(before);
    await world.clock.advance(1);
    expect((await Promise.all(all)).map(({ at }) => at)).toEqual(all.map((_, i) => before + i));
    expect(world.durable).toBe(1);
  });

  test.each([2, 1] as const)('at posture %i each is anchored at once, by its own signed checkpoint', async (level) => {
    using world = new World({ level });
    const before = world.spool.size;
    for (let i = 0; i < 3; i += 1) {
      const promise = world.recorder.record(transit(i));
      expect(world.spool.size).toBe(before + i + 1);
      expect(Buffer.from(world.spool.checkpoint).toString()).toContain(`${ORIGIN}\n${before + i + 1}\n`);
      await promise;
    }
    expect(world.durable).toBe(3);
  });

  test('sessions that a level ends all at once leave turns between their syncs, each by itself and as of that level', async () => {
    using world = new World({ level: 5 });
    await world.recordMany(20);
    const before = world.spool.size;
    world.level = 2;
    world.commitMs = 2;
    const durable = world.durable;
    const ends = Array.from({ length: 20 }, (_, i) => world.recorder.record(transit(i, Phase.OUTCOME)));
    // Three syncs are more than the share of one turn; an intent is waited for, and has its commit at once.
    expect(world.spool.size).toBe(before + 3);
    void world.recorder.record(transit(99));
    expect(world.spool.size).toBe(before + 4);
    world.level = 5;
    await world.clock.advance(0);
    await Promise.all(ends);
    expect(world.spool.size).toBe(before + 21);
    expect(world.durable).toBe(durable + 21);
  });

  test('ends that still wait for their turn are durable when it closes', async () => {
    using world = new World({ level: 1 });
    world.commitMs = 100;
    const before = world.spool.size;
    const ends = Array.from({ length: 5 }, (_, i) => world.recorder.record(transit(i, Phase.OUTCOME)));
    expect(world.spool.size).toBe(before + 1);
    world.recorder.close();
    await Promise.all(ends);
    expect(world.spool.size).toBe(before + 5);
    expect(world.clock.pending).toEqual([]);
  });

  test('the level at transit is in every record, and "all transits while at level 3" is one query, by tier', async () => {
    using world = new World({ level: 3 });
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
    using world = new World({ level: 3 });
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
    using world = new World({ level: 3 }, { budgetBytes: 400_000, reserveBytes: 150_000 });
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
    using world = new World({ level: 3 });
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
    using world = new World({ level: 3 });
    await world.record(transit(1));
    const { at } = await world.record(transit(2));
    await world.record(transit(1, Phase.OUTCOME));
    forgetRecords(world.spool, world.spool.size);
    expect(undecidedIntents(world.spool.reader)).toMatchObject([{ intent: { at } }]);
  });

  test('several that are one are next to each other, or not there', async () => {
    using world = new World({ level: 1 });
    const places = await world.recorder.recordAll([mutation(1), mutation(2), consoleUse]);
    expect(places.map(({ at }) => at - (places[0]?.at ?? 0))).toEqual([0, 1, 2]);
    expect(world.durable).toBe(1);
  });
});

describe('a forensic snapshot', () => {
  test('of a large node is cut into records that parse, durable together, each vouched for by the last', async () => {
    using world = new World({ level: 1 });
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

describe('sampling, from the recorder to an outsider', () => {
  test('notarises about a tenth at 5, half at 4, all below; every mutation', async () => {
    for (const [level, least, most] of [
      [5, 60, 145],
      [4, 420, 580],
      [3, 1_000, 1_000],
    ] as const) {
      using world = new World({ level });
      const places = await world.recordMany(1_000);
      const notarised = places.filter((place) => place.in === 'log').length;
      expect(notarised).toBeGreaterThanOrEqual(least);
      expect(notarised).toBeLessThanOrEqual(most);
      expect(await world.record(mutation(1))).toMatchObject({ in: 'log' });
    }
  });

  test('a session that was left out at 5 and ends at 3 is notarised at its end', async () => {
    using world = new World({ level: 5 });
    const places = await world.recordMany(50);
    const leftOut = places.findIndex((place) => place.in === 'left-out');
    world.level = 3;
    expect(await world.record(transit(leftOut, Phase.OUTCOME))).toMatchObject({ in: 'log' });
  });

  test('commits to the keys of two days before the first record, and reveals none before its day is over', async () => {
    using world = new World({ level: 5 });
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
    using world = new World({ level: 5 });
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
async function threeDays(): Promise<World> {
  const world = new World({ level: 5 });
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

interface Shown {
  readonly entries: Map<number, LogEntry>;
  readonly records: Map<number, Opening>;
  readonly leftOut: Map<number, LeftOutOpening>;
}

class World implements Disposable {
  readonly folder = new EvidenceFolder();
  readonly clock = new SimulatedClock(NOON);
  readonly #options: Partial<SpoolParts>;
  level: PostureLevel;
  durable = 0;
  /** How long the disk takes for one. */
  commitMs = 0;
  #spentMs = 0;
  spool: Spool;
  recorder: Recorder;

  constructor({ level }: { readonly level: PostureLevel }, options: Partial<SpoolParts> = {}) {
    this.level = level;
    const timed: SpoolParts['timed'] = (commit) => {
      this.#spentMs += this.commitMs;
      return commit();
    };
    this.#options = { timed, ...options };
    this.spool = this.folder.spool(this.#options);
    this.recorder = this.#open();
  }

  restart(): void {
    this.recorder.close();
    this.spool[Symbol.dispose]();
    this.spool = this.folder.spool(this.#options);
    this.recorder = this.#open();
  }

  record(body: Parameters<Recorder['record']>[0]): ReturnType<Recorder['record']> {
    const promise = this.recorder.record(body);
    void this.clock.advance(1);
    return promise;
  }

  recordMany(count: number, from = 0, phase: Phase = Phase.INTENT): ReturnType<Recorder['recordAll']> {
    const all = Array.from({ length: count }, (_, i) => this.recorder.record(transit(from + i, phase)));
    void this.clock.advance(1);
    return Promise.all(all);
  }

  publicEntries(): LogEntry[] {
    const all = this.spool.reader.entries(0, this.spool.size).map(({ entry }) => parseEntry(entry));
    return all.filter(({ kind }) => kind !== 'record');
  }

  async publish(): Promise<LogReport> {
    await (await this.folder.publisher(this.spool)).publish();
    return this.folder.verify();
  }

  async audit(
    change: (shown: Shown) => void = () => undefined,
    rates = DEFAULT_RATES,
  ): Promise<{ report: LogReport; audit: Audit }> {
    await (await this.folder.publisher(this.spool)).publish();
    const entries = new Map<number, LogEntry>();
    const trust = { origin: ORIGIN, keys: [LOG_KEY], witnesses: [] };
    const source = new LogDirectory(this.folder.logPath);
    const onEntry = (index: number, entry: LogEntry): void =>
      void (entry.kind === 'record' && entries.set(index, entry));
    const report = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, onEntry });
    const records = new Map<number, Opening>();
    for (const { index, opening } of this.spool.reader.entries(0, this.spool.size)) {
      if (opening !== undefined) records.set(index, opening);
    }
    const leftOut = new Map<number, LeftOutOpening>();
    for (const { number, opening, commitment } of this.spool.reader.leftOut(0, 1_000_000)) {
      leftOut.set(number, opening ?? { commitment: commitment ?? new Uint8Array() });
    }
    change({ entries, records, leftOut });
    const { size, keys, batches } = report;
    const audit = auditRecords({ crypto: nodeCrypto, rates, size, keys, batches, entries, records, leftOut });
    return { report, audit };
  }

  [Symbol.dispose](): void {
    this.recorder.close();
    this.spool[Symbol.dispose]();
    this.folder[Symbol.dispose]();
  }

  #open(): Recorder {
    const parts: RecorderParts = {
      spool: this.spool,
      clock: {
        now: () => this.clock.now(),
        monotonic: () => this.clock.monotonic() + this.#spentMs,
        after: (delayMs, action) => this.clock.after(delayMs, action),
      },
      crypto: nodeCrypto,
      notarisation,
      posture: () => ({ level: this.level, epoch: 1n }),
      onDurable: () => {
        this.durable += 1;
      },
    };
    return new Recorder(parts);
  }
}

async function untilRefused(action: () => Promise<void>): Promise<string> {
  for (;;) {
    try {
      await action();
    } catch (error) {
      return reasonOf(error);
    }
  }
}
