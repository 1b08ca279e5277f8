/** The end of a session, from the enforcer's word to the log: of which moment it is, and what becomes of it when it fails. */
import { beforeEach, expect, it, vi } from 'vitest';
import { CountedBy } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { FlowCounters } from '../dataplane/ports.ts';
import type { Standing } from '../enforcer/directory.ts';
import { MEMBER, standingOf } from '../enforcer/fixtures.ts';
import { NO_STREAMS, type StreamsAtEnd } from '../enforcer/stream-totals.ts';
import type { Moment, Recording } from './recorder.ts';
import { Transits } from './transits.ts';

const SELF = 'spiffe://b.test/gateway';
const ID = 'a'.repeat(32);
const THEN: Moment = { atMs: 1_000, posture: { level: 1, epoch: 7n } };

let recorded: { readonly body: Recording; readonly at: Moment | undefined }[];
let now: Moment;
let self: () => string;
let counters: () => Promise<FlowCounters>;
let clock: SimulatedClock;
let changingSinceMs: number | undefined;
const failed = vi.fn();
let transits: Transits;

beforeEach(() => {
  recorded = [];
  now = THEN;
  self = () => SELF;
  counters = async () => ({ packets: 0n, bytes: 0n, denied: 0n });
  clock = new SimulatedClock();
  changingSinceMs = undefined;
  failed.mockClear();
  transits = new Transits({
    record: async (body, at) => {
      recorded.push({ body, at });
      return { in: 'log', at: recorded.length, transit: recorded.length };
    },
    moment: () => now,
    flows: { counters: () => counters() },
    accordHash: new Uint8Array(32),
    self: () => self(),
    log: { ...silentLogger, error: failed },
    clock,
    holds: { changingSinceMs: () => changingSinceMs, isReopening: () => false },
  });
});

it('attack: a last word that is kept back until the level is lifted leaves the end one of the level that ended it', async () => {
  await transits.announce(standing.admission, 'responder');
  const ending = transits.ending(standing, 'POSTURE_CHANGED', false);
  ending.gone();
  now = { atMs: 5_000, posture: { level: 5, epoch: 8n } };
  expect(recorded).toHaveLength(1);
  ending.counted(COUNTED);
  await transits.settled();
  expect(recorded.at(-1)).toMatchObject({
    at: THEN,
    body: { value: { endReason: REASONS.POSTURE_CHANGED.code, responderId: SELF } },
  });
  expect(transits.isOpen(ID)).toBe(false);
});

it('a session of a former run ends by the names of its intent, though our own SVID is over', async () => {
  self = noIdentity;
  transits.resume(ID, 3, SELF);
  end(standing);
  await transits.settled();
  expect(recorded).toMatchObject([{ body: { value: { responderId: SELF, intent: 3n } } }]);
  expect(failed).not.toHaveBeenCalled();
});

it('an end of which nothing can be said is told in the log, stops nobody, and leaves its intent open', async () => {
  self = noIdentity;
  end(standing);
  await transits.settled();
  expect(recorded).toEqual([]);
  expect(failed).toHaveBeenCalledTimes(1);
});

it('an end waits for the change that made it, and is pending in no snapshot meanwhile; a node that stops waits for none', async () => {
  await transits.announce(standing.admission, 'responder');
  expect(transits.announced).toEqual([standing.admission]);
  changingSinceMs = clock.monotonic();
  end(standing);
  await clock.advance(1_000);
  expect(recorded).toHaveLength(1);
  expect(transits.isOpen(ID)).toBe(true);
  expect(transits.announced).toEqual([]);
  await transits.settled();
  expect(recorded).toHaveLength(2);
  expect(transits.isOpen(ID)).toBe(false);
  await transits.announce(standing.admission, 'responder');
  end(standing);
  expect(recorded).toHaveLength(4);
  expect(clock.pending).toEqual([]);
});

it('what did not come to stand waits for the change too, and is of the moment at which it failed', async () => {
  const announced = await transits.announce(standing.admission, 'responder');
  changingSinceMs = clock.monotonic();
  announced.failed('TUNNEL_FAILED');
  now = { atMs: 5_000, posture: { level: 5, epoch: 8n } };
  await clock.advance(1_000);
  expect(recorded).toHaveLength(1);
  expect(transits.announced).toEqual([]);
  changingSinceMs = undefined;
  await clock.advance(5);
  expect(recorded.at(-1)).toMatchObject({ at: THEN, body: { value: { endReason: REASONS.TUNNEL_FAILED.code } } });
  expect(transits.isOpen(ID)).toBe(false);
});

it('a node that stops waits for the last word and the kernel’s counters of what is gone, not for what is not', async () => {
  const read = Promise.withResolvers<FlowCounters>();
  counters = () => read.promise;
  transits.ending(standing, 'EXPIRED', false);
  const ending = transits.ending({ ...standing, member: MEMBER }, 'EXPIRED', false);
  ending.gone();
  expect(transits.leaving).toEqual([standing]);
  const settled = transits.settled();
  ending.counted(COUNTED);
  expect(recorded).toEqual([]);
  read.resolve({ packets: 7n, bytes: 70n, denied: 0n });
  await settled;
  expect(recorded).toMatchObject([{ body: { value: { counters: [{ packets: 7n, countedBy: CountedBy.KERNEL }] } } }]);
});

it('counters that cannot be read keep no end from being told', async () => {
  counters = () => Promise.reject(new Error('no map'));
  end({ ...standing, member: MEMBER });
  await transits.settled();
  expect(recorded).toMatchObject([{ body: { value: { counters: [] } } }]);
});

function end(of: Standing): void {
  const ending = transits.ending(of, 'EXPIRED', false);
  ending.counted(COUNTED);
  ending.gone();
}

function noIdentity(): string {
  throw new Error('no SVID');
}

const COUNTED: StreamsAtEnd = { ...NO_STREAMS, isComplete: true };

const standing = standingOf(ID);
