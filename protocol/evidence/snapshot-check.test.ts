import { expect, test } from 'vitest';
import { Phase } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { Mode, SessionType } from '../gen/shellstream/wire/v1/wire_pb.ts';
import { type ArtifactInit, encodeArtifact } from './artifact.ts';
import { parseEntry, recordEntry } from './entry.ts';
import { describeFinding } from './finding.ts';
import { sha256 } from './fixtures.ts';
import { checkRecords } from './record-check.ts';

type Body = NonNullable<ArtifactInit['body']>;

const HEAD = { atMs: 1n, postureLevel: 1, postureEpoch: 9n };
const ID = new Uint8Array(16);
const [OPEN, ENDED, LATER] = [1, 2, 3];

const session = (number: number): Uint8Array => new Uint8Array(16).fill(number);
const transit = (number: number, phase: Phase): Body => ({
  case: 'sessionTransit',
  value: {
    phase,
    sessionId: session(number),
    postureLevelAtTransit: 3,
    accordHash: new Uint8Array(32),
    sessionType: SessionType.OPERATOR,
    mode: Mode.OVERLAY,
  },
});
const BEFORE = [
  transit(OPEN, Phase.INTENT),
  transit(ENDED, Phase.INTENT),
  transit(ENDED, Phase.OUTCOME),
  transit(LATER, Phase.INTENT),
];
const AFTER = [transit(OPEN, Phase.COMPENSATION)];

test('a late snapshot that has all that had begun and not ended passes, whatever came of it', () => {
  expect(found([...BEFORE, ...snapshot([OPEN, LATER]), ...AFTER])).toEqual([]);
});

test('attack: a late snapshot leaves out a session that stood', () => {
  const [finding, ...more] = found([...BEFORE, ...snapshot([LATER]), ...AFTER]);
  expect(finding).toMatch(/late, and leaves out 0101/);
  expect(more).toEqual([]);
});

test('attack: a late snapshot tells of a session that had ended', () => {
  expect(found([...BEFORE, ...snapshot([OPEN, LATER, ENDED]), ...AFTER]).join()).toMatch(/tells of 0202.*had ended/);
});

test('attack: a second snapshot of one change, that tells it in another way', () => {
  const both = [...BEFORE, ...snapshot([OPEN, LATER]), ...snapshot([OPEN, LATER], { late: false }), ...AFTER];
  expect(found(both).join()).toMatch(/of its change there is a snapshot already/);
});

test('attack: a snapshot counts more than its parts have', () => {
  expect(found([...snapshot([OPEN], { late: false, sessions: 2 })]).join()).toMatch(
    /counts 2 sessions, and its parts have 1/,
  );
});

test('one that was not late says what stood at an instant before: what ended meanwhile is no lie', () => {
  expect(found([...BEFORE, ...snapshot([ENDED, OPEN], { late: false }), ...AFTER])).toEqual([]);
});

/** A part and what vouches for it. */
function snapshot(sessions: readonly number[], change: object = {}): Body[] {
  const states = sessions.map((number) => ({ sessionId: session(number) }));
  const part: Body = { case: 'snapshotPart', value: { snapshotId: ID, sessions: states } };
  const hash = sha256(encodeArtifact({ ...HEAD, body: part }));
  const value = { snapshotId: ID, parts: [hash], sessions: sessions.length, changeEpoch: 8n, late: true, ...change };
  return [part, { case: 'forensicSnapshot', value }];
}

/** By somebody who is shown all of these, as they stand in a log. */
function found(bodies: readonly Body[]): readonly string[] {
  const salt = new Uint8Array(16);
  const records = new Map(bodies.map((body, index) => [index, { salt, record: encodeArtifact({ ...HEAD, body }) }]));
  const entries = new Map(
    [...records].map(([index, { record }]) => [index, parseEntry(recordEntry(sha256, salt, record))]),
  );
  return checkRecords({ sha256, entries, records }).map(describeFinding);
}
