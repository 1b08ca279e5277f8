import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { encodeArtifact } from '../../protocol/evidence/index.ts';
import { ARTIFACT_KINDS } from '../../protocol/quartermaster/index.ts';
import { transit } from '../evidence/fixtures.ts';
import { Depot, submission, transitEntry } from './fixtures.ts';
import type { Store } from './store.ts';

const NOW = 1_800_000_000_000;

test('attack: a session made to share the index’s 32 bits is not taken for another one', async () => {
  await using depot = new Depot();
  const store = depot.store();
  const others = Uint8Array.from({ length: 16 }, (_, i) => (i < 12 ? 0xee : 0));
  others[15] = 1;
  store.transact(() => store.put(submission(0, [transitEntry(1), entryOf(others)]), NOW));
  expect(found(store, `${'0'.repeat(31)}1`)).toEqual([0]);
  expect(found(store, `${'ee'.repeat(12)}00000001`)).toEqual([1]);
  expect(found(store, `${'dd'.repeat(12)}00000001`)).toEqual([]);
});

test('a store from before goes on: sessions are found, and no number is used twice', async () => {
  await using depot = new Depot();
  using before = depot.store();
  before.transact(() => before.put(submission(0, [transitEntry(1), transitEntry(2), transitEntry(3)]), NOW));
  before.transact(() => before.put(submission(3, [transitEntry(4)]), NOW + 86_400_000));
  const last = before.reader.lastNumber();
  before[Symbol.dispose]();
  asItWas(`${depot.path}/store.db`, last);
  const store = depot.store();
  expect(found(store, `${'0'.repeat(31)}2`)).toEqual([1]);
  expect(store.reader.lastNumber()).toBe(last);
  store.transact(() => store.put(submission(4, [transitEntry(5)]), NOW));
  expect(store.reader.lastNumber()).toBe(last + 1);
  expect(found(store, `${'0'.repeat(31)}5`)).toEqual([4]);
});

/** Sessions whole, in a column of bytes; the newest record forgotten. */
function asItWas(path: string, last: number): void {
  using database = new DatabaseSync(path);
  database.exec(`
    CREATE TABLE old (number INTEGER PRIMARY KEY AUTOINCREMENT, log INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER,
      at_ms INTEGER, level INTEGER, session BLOB, actor INTEGER, peer INTEGER, salt BLOB, content BLOB) STRICT;
    INSERT INTO old SELECT number, log, seq, kind, at_ms, level, unhex(printf('%032x', session)), actor, peer, salt, content
      FROM artifact;
    DROP TABLE artifact;
    DROP TABLE passed_time;
    ALTER TABLE old RENAME TO artifact;
    DELETE FROM artifact WHERE number = ${last};
    PRAGMA user_version = 1`);
}

function entryOf(sessionId: Uint8Array) {
  const recording = transit(1);
  if (recording.case !== 'sessionTransit') throw new Error('a fixture that is no transit');
  const body = { ...recording, value: { ...recording.value, sessionId, postureLevelAtTransit: 3 } };
  const artifact = encodeArtifact({ atMs: BigInt(NOW), postureLevel: 3, postureEpoch: 1n, body });
  return { what: { case: 'record' as const, value: { artifact, salt: new Uint8Array(16) } } };
}

function found(store: Store, session: string): readonly number[] {
  const none = { level: undefined, identity: undefined, origin: undefined };
  const all = { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, kinds: new Set(ARTIFACT_KINDS.keys()) };
  const question = { wanted: { ...none, ...all, session }, newestFirst: false, limit: 9, after: undefined };
  return store.reader.query(question).found.map(({ sequence }) => sequence);
}
