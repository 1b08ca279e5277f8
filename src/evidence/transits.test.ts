/** The end of a session, from the enforcer's word to the log: of which moment it is, and what becomes of it when it fails. */
import { beforeEach, expect, it, vi } from 'vitest';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { silentLogger } from '../base/logger.ts';
import type { Standing } from '../enforcer/directory.ts';
import { NO_STREAMS, type StreamsAtEnd } from '../enforcer/stream-totals.ts';
import type { Moment, Recording } from './recorder.ts';
import { Transits } from './transits.ts';

const SELF = 'spiffe://b.test/gateway';
const ID = 'a'.repeat(32);
const THEN: Moment = { atMs: 1_000, posture: { level: 1, epoch: 7n } };

let recorded: { readonly body: Recording; readonly at: Moment | undefined }[];
let now: Moment;
let self: () => string;
const failed = vi.fn();
let transits: Transits;

beforeEach(() => {
  recorded = [];
  now = THEN;
  self = () => SELF;
  failed.mockClear();
  transits = new Transits({
    record: async (body, at) => {
      recorded.push({ body, at });
      return { in: 'log', at: recorded.length, transit: recorded.length };
    },
    moment: () => now,
    flows: { counters: async () => ({ packets: 0n, bytes: 0n, droppedPackets: 0n, droppedBytes: 0n }) as never },
    accordHash: new Uint8Array(32),
    self: () => self(),
    log: { ...silentLogger, error: failed },
  });
});

it('attack: a last word that is kept back until the level is lifted leaves the end one of the level that ended it', async () => {
  await transits.announce(standing.admission, 'responder');
  const last = Promise.withResolvers<StreamsAtEnd>();
  transits.ending(standing, 'POSTURE_CHANGED', false, last.promise)();
  now = { atMs: 5_000, posture: { level: 5, epoch: 8n } };
  last.resolve({ ...NO_STREAMS, isComplete: true });
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
  transits.ending(standing, 'EXPIRED', false, Promise.resolve({ ...NO_STREAMS, isComplete: true }))();
  await transits.settled();
  expect(recorded).toMatchObject([{ body: { value: { responderId: SELF, intent: 3n } } }]);
  expect(failed).not.toHaveBeenCalled();
});

it('an end of which nothing can be said is told in the log, stops nobody, and leaves its intent open', async () => {
  self = noIdentity;
  transits.ending(standing, 'EXPIRED', false, Promise.resolve({ ...NO_STREAMS, isComplete: true }))();
  await transits.settled();
  expect(recorded).toEqual([]);
  expect(failed).toHaveBeenCalledTimes(1);
});

function noIdentity(): string {
  throw new Error('no SVID');
}

const standing: Standing = {
  admission: {
    id: ID,
    peer: { spiffeId: 'spiffe://a.test/x' as SpiffeId, trustDomain: 'a.test', tier: 'master' },
    offer: { versions: [1], sessionType: 'operator', mode: 'overlay' },
    grant: { mode: 'overlay', capabilities: ['OBSERVE'], targets: [], reachable: [], lifetimeMs: 60_000 },
    effectiveLevel: 5,
    governedBy: 'both',
    peerLevel: 5,
    peerEpoch: 1n,
    toldEpoch: 1n,
    expiresAt: 60_000,
    reattestSecret: new Uint8Array(32),
  },
  credentials: { issuedAtMs: 0 },
  role: 'responder',
  openedAtMs: 0,
  peerLevel: 5,
  judgedLevel: 5,
};
