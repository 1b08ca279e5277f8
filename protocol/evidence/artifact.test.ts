import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import { SessionTransitArtifactSchema } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { type ArtifactInit, encodeArtifact, parseArtifact, sessionIdBytes } from './artifact.ts';
import { mayRead } from './disclosure.ts';
import {
  commitmentOf,
  encodeEntry,
  type LogEntry,
  parseEntry,
  recordEntry,
  recordEntryStart,
  recordLeaf,
} from './entry.ts';
import { sha256 } from './fixtures.ts';
import { leafHash } from './merkle.ts';

const HEAD = { atMs: 1n, postureLevel: 3, postureEpoch: 2n };
const TRANSIT = {
  phase: 1,
  sessionId: new Uint8Array(16).fill(1),
  postureLevelAtTransit: 3,
  accordHash: new Uint8Array(32),
  initiatorId: 'spiffe://a.example/x',
  responderId: 'spiffe://b.example/y',
  tier: 2,
  sessionType: 4,
  mode: 1,
  capabilities: [1, 2],
  targets: [{ prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 32 }, protocol: 6, port: 22 }],
};
// Also values that the types have no word for.
const transit = (change: object): ArtifactInit => ({
  ...HEAD,
  body: { case: 'sessionTransit', value: Object.assign(create(SessionTransitArtifactSchema), TRANSIT, change) },
});

describe('an artifact', () => {
  it('is read as it was written', () => {
    const { body } = parseArtifact(encodeArtifact(transit({ endReason: 600, counters: [{ packets: 1n }] })));
    expect(body).toMatchObject({
      case: 'sessionTransit',
      value: { ...TRANSIT, endReason: 600, counters: [{ packets: 1n }] },
    });
  });

  const refusals: readonly (readonly [string, ArtifactInit])[] = [
    ['without a body', HEAD],
    ['of posture level 0', { ...transit({}), postureLevel: 0 }],
    ['of posture level 6', { ...transit({}), postureLevel: 6 }],
    ['without the level at transit', transit({ postureLevelAtTransit: 0 })],
    ['without a phase', transit({ phase: 0 })],
    ['of a phase of the future', transit({ phase: 4 })],
    ['of a tier of the future', transit({ tier: 5 })],
    ['with a session id of 15 bytes', transit({ sessionId: new Uint8Array(15) })],
    ['with an accord hash of 31 bytes', transit({ accordHash: new Uint8Array(31) })],
    [
      'with a target that has host bits',
      transit({ targets: [{ prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 8 } }] }),
    ],
    ['with 257 offered targets', transit({ offered: Array(257).fill(TRANSIT.targets[0]) })],
    ['with 257 targets', transit({ targets: Array(257).fill(TRANSIT.targets[0]) })],
    ['with an identity of 2,049 characters', transit({ initiatorId: 'x'.repeat(2_049) })],
    ['with counters of a witness that there is not', transit({ counters: [{ countedBy: 3 }] })],
    ['with what the kernel counted, twice', transit({ counters: [{ countedBy: 1 }, { countedBy: 1 }] })],
    ['with more frame headers than a record may hold', transit({ frameHeaders: new Uint8Array(65_537) })],
    [
      'with 513 routes',
      {
        ...HEAD,
        body: {
          case: 'networkMutation',
          value: {
            phase: 1,
            kind: 1,
            mutationId: new Uint8Array(16),
            accordHash: new Uint8Array(32),
            routes: Array(513).fill({ destination: TRANSIT.targets[0]?.prefix }),
          },
        },
      },
    ],
    [
      'with a route to nowhere',
      {
        ...HEAD,
        body: {
          case: 'networkMutation',
          value: { phase: 1, kind: 1, mutationId: new Uint8Array(16), accordHash: new Uint8Array(32), routes: [{}] },
        },
      },
    ],
    ['with a change from no level', { ...HEAD, body: { case: 'postureChange', value: { toLevel: 3, observer: 1 } } }],
    [
      'with a part’s hash of 3 bytes',
      {
        ...HEAD,
        body: { case: 'forensicSnapshot', value: { snapshotId: new Uint8Array(16), parts: [new Uint8Array(3)] } },
      },
    ],
    [
      'with 257 sessions in one part',
      {
        ...HEAD,
        body: { case: 'snapshotPart', value: { snapshotId: new Uint8Array(16), sessions: Array(257).fill({}) } },
      },
    ],
  ];
  it.each(refusals)('%s is refused', (_, artifact) => {
    expect(refusal(() => parseArtifact(encodeArtifact(artifact)))).toBe('MALFORMED');
  });

  it('with bytes after it, or an unknown field, is refused: two records must not read alike', () => {
    const record = encodeArtifact(transit({}));
    expect(refusal(() => parseArtifact(Uint8Array.of(...record, 0)))).toBe('MALFORMED');
    expect(refusal(() => parseArtifact(Uint8Array.of(...record, 0xf8, 0x07, 1)))).toBe('MALFORMED');
  });

  it('takes a session’s id as the daemon spells it', () => {
    expect(sessionIdBytes('000102030405060708090a0b0c0d0eff')).toEqual(Uint8Array.of(...Array(15).keys(), 255));
    expect(refusal(() => sessionIdBytes('XX'))).toBe('INTERNAL');
  });

  it('is for those tiers that answer for what is in it', () => {
    expect(mayRead(undefined, 'postureChange')).toBe(false);
    expect([mayRead('apprentice', 'sessionTransit'), mayRead('journeyman', 'sessionTransit')]).toEqual([false, true]);
    expect([mayRead('master', 'consoleUse'), mayRead('site_owner', 'consoleUse')]).toEqual([false, true]);
  });
});

describe('a log entry', () => {
  const day = fc.nat(2 ** 32 - 1);
  const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const entries: fc.Arbitrary<LogEntry> = fc.oneof(
    bytes.map((commitment) => ({ kind: 'record' as const, commitment })),
    fc.tuple(day, bytes).map(([of, commitment]) => ({ kind: 'key-committed' as const, day: of, commitment })),
    fc.tuple(day, bytes).map(([of, key]) => ({ kind: 'key-revealed' as const, day: of, key })),
    fc
      .tuple(day, fc.integer({ min: 0, max: 2 ** 52 }), fc.integer({ min: 1, max: 65_536 }), bytes)
      .map(([of, first, count, root]) => ({ kind: 'left-out' as const, day: of, first, count, root })),
  );

  it('has one spelling, which is read back', () => {
    fc.assert(
      fc.property(entries, (entry) => {
        expect(parseEntry(encodeEntry(entry))).toEqual(entry);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        const read = refusalOr(() => parseEntry(noise));
        if (typeof read !== 'string') expect(encodeEntry(read)).toEqual(noise);
      }),
    );
  });

  it('binds salt and record each in its place', () => {
    const salt = new Uint8Array(16).fill(3);
    const one = commitmentOf(sha256, salt, Uint8Array.of(1, 2));
    expect(one).not.toEqual(commitmentOf(sha256, salt, Uint8Array.of(1, 2, 0)));
    expect(one).not.toEqual(commitmentOf(sha256, salt.with(15, 1), Uint8Array.of(2)));
    expect(refusal(() => commitmentOf(sha256, salt.subarray(1), Uint8Array.of(3, 1, 2)))).toBe('INTERNAL');
    expect(parseEntry(recordEntry(sha256, salt, Uint8Array.of(1, 2)))).toEqual({ kind: 'record', commitment: one });
  });

  it('has a start and a leaf that can be had without it', () => {
    const salt = new Uint8Array(16).fill(3);
    const entry = recordEntry(sha256, salt, Uint8Array.of(1, 2));
    const commitment = commitmentOf(sha256, salt, Uint8Array.of(1, 2));
    expect(recordEntryStart(commitment, 5)).toEqual(entry.subarray(0, 5));
    expect(recordLeaf(sha256, commitment)).toEqual(leafHash(sha256, entry));
  });
});

function refusal(action: () => unknown): string | undefined {
  const got = refusalOr(action);
  return typeof got === 'string' ? got : undefined;
}

function refusalOr<T>(action: () => T): T | string {
  try {
    return action();
  } catch (error) {
    return reasonOf(error);
  }
}
