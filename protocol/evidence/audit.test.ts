import { hmac } from '@noble/hashes/hmac.js';
import { sha256 as noble } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import type { PostureLevel } from '../posture/level.ts';
import { encodeArtifact } from './artifact.ts';
import { type Audit, auditRecords } from './audit.ts';
import { commitmentOf, encodeEntry, type LogEntry } from './entry.ts';
import { sha256 } from './fixtures.ts';
import type { Opening } from './log-source.ts';
import { leafHash, rootOf } from './merkle.ts';
import { DEFAULT_RATES } from './sampling.ts';

const DAY = 20;

describe('what sampling left out', () => {
  it('attack: the end at 3 of a session that began at 5 is left out by the rate of 5; named before the key is known', () => {
    const { findings } = audit([transit(0, 5, 5), transit(1, 5, 3)]);
    expect(findings).toEqual([
      { kind: 'record', entry: 9, why: 'left-out record 1 should have been notarised at level 3' },
    ]);
  });

  it('attack: a transit at 3 is said to have been recorded at 5', () => {
    expect(audit([transit(0, 3, 5)]).findings).toMatchObject([{ why: expect.stringContaining('at level 3') }]);
  });

  it('and waits for its batch root is no deletion, and nothing that is committed to', () => {
    const all = [transit(0, 5, 5), transit(1, 5, 5), transit(2, 5, 5)];
    const { findings, uncommitted, verdict } = audit(all, 2);
    expect([findings, uncommitted]).toEqual([[], 1]);
    expect([0, 1, 2, 3].map((n) => verdict(id(n)))).toEqual(['left out', 'left out', 'not committed to', 'deleted']);
  });

  it('and what is younger than the checkpoint is neither a deletion nor proven', () => {
    const { findings, uncommitted, verdict } = audit([transit(0, 5, 5)], 1, [], new Map([[10, transit(1, 3, 3)]]));
    expect([findings, uncommitted, verdict(id(1))]).toEqual([[], 1, 'not committed to']);
  });

  it('attack: one of a batch is kept back: that one is named, and the others are no deletions', () => {
    const { findings, verdict } = audit([transit(0, 5, 5), transit(1, 5, 5), transit(2, 5, 5)], 3, [1]);
    expect(findings).toEqual([
      { kind: 'record', entry: 9, why: 'left-out record 1 of its batch is not shown' },
      { kind: 'deleted', first: 1, count: 1 },
    ]);
    expect([0, 1].map((n) => verdict(id(n)))).toEqual(['not committed to', 'deleted']);
  });

  it('attack: two transits of one number', () => {
    expect(audit([transit(0, 5, 5), transit(0, 5, 5)], 1).findings).toMatchObject([{ why: 'transit 0 is told twice' }]);
  });
});

/** Of a log that left all of these out, the first `committed` of them under one batch root, at entry 9; some not shown. */
function audit(
  records: readonly Opening[],
  committed = records.length,
  hidden: readonly number[] = [],
  younger: ReadonlyMap<number, Opening> = new Map(),
): Audit {
  const leaves = records.slice(0, committed).map(({ salt, record }) => {
    const entry: LogEntry = { kind: 'record', commitment: commitmentOf(sha256, salt, record) };
    return leafHash(sha256, encodeEntry(entry));
  });
  return auditRecords({
    crypto: { sha256, hmacSha256: (key, message) => hmac(noble, key, message) },
    rates: DEFAULT_RATES,
    size: 10,
    keys: new Map(),
    batches: [{ entry: 9, day: DAY, first: 0, count: committed, root: rootOf(sha256, leaves) }],
    entries: new Map(),
    records: younger,
    leftOut: new Map([...records.entries()].filter(([number]) => !hidden.includes(number))),
  });
}

function transit(number: number, atTransit: PostureLevel, recorded: PostureLevel): Opening {
  const record = encodeArtifact({
    atMs: BigInt(DAY * 86_400_000),
    postureLevel: recorded,
    body: {
      case: 'sessionTransit',
      value: {
        phase: 1,
        sessionId: id(number),
        transit: BigInt(number),
        postureLevelAtTransit: atTransit,
        accordHash: new Uint8Array(32),
        initiatorId: 'spiffe://a.test/gateway',
        responderId: 'spiffe://b.test/gateway',
        sessionType: 1,
        mode: 1,
      },
    },
  });
  return { salt: new Uint8Array(16).fill(number), record };
}

function id(number: number): Uint8Array {
  return new Uint8Array(16).fill(number + 1);
}
