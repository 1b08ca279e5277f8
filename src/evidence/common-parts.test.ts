import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { encodeArtifact } from '../../protocol/evidence/index.ts';
import { EvidenceFolder, transit } from './fixtures.ts';
import type { SpoolItem } from './spool-items.ts';

const RECORD = encodeArtifact({ atMs: 1n, postureLevel: 3, postureEpoch: 1n, body: transit(1) });
const ITEM: SpoolItem = { to: 'log', record: RECORD, kind: 1, level: 3 };

test('records of the log and left-out ones share their parts, over restarts', () => {
  using folder = new EvidenceFolder();
  for (let run = 0; run < 2; run += 1) {
    using spool = folder.spool();
    spool.append([ITEM, { to: 'left-out', record: RECORD, day: 1, level: 5 }]);
    expect(spool.reader.entries(0, 9).map(({ opening }) => opening?.record)).toEqual(Array(run + 1).fill(RECORD));
    expect(spool.reader.leftOut(0, 9).map(({ opening }) => opening?.record)).toEqual(Array(run + 1).fill(RECORD));
  }
  expect(count(folder, 'SELECT count(*) AS n FROM common_part')).toBe(3);
  expect(count(folder, 'SELECT max(length(record)) AS n FROM entry')).toBeLessThan(RECORD.length / 2 + 10);
});

test('attack: identities made to have one key cost their own bytes, and are read as they were written', () => {
  using folder = new EvidenceFolder();
  // FNV-1a of both is the same.
  const records = ['0268088', '1392106'].map((end) => recordOf(`spiffe://alpha.example/shell/${end}`));
  for (let run = 0; run < 2; run += 1) {
    using spool = folder.spool();
    spool.append(records.map((record): SpoolItem => ({ ...ITEM, record })));
    const read = spool.reader.entries(run * 2, 9).map(({ opening }) => opening?.record);
    expect(read).toEqual(records);
  }
  expect(count(folder, 'SELECT count(*) AS n FROM common_part')).toBe(3);
});

test('a part whose record was taken back is not there for the next one', () => {
  using folder = new EvidenceFolder();
  {
    using spool = folder.spool();
    // The second has the place of the first: the whole batch goes.
    expect(() => spool.forget((rows) => [1, 1].map((at) => rows.putRecord(at, ITEM, new Uint8Array(16))))).toThrow();
  }
  using spool = folder.spool();
  spool.append([ITEM]);
  expect(spool.reader.entries(0, 1)[0]?.opening?.record).toEqual(RECORD);
});

test('a damaged part is named when the spool is opened: all its records hang on it', () => {
  using folder = new EvidenceFolder();
  appended(folder, [ITEM]);
  using database = new DatabaseSync(folder.spoolPath);
  database.exec("UPDATE common_part SET bytes = CAST('x' || substr(bytes, 2) AS BLOB) WHERE number = 1");
  database.close();
  expect(() => folder.spool()).toThrow('common part 1 is damaged');
});

test('a spool from before, with whole records and whole entries, goes on', () => {
  using folder = new EvidenceFolder();
  const entries = appended(folder, [ITEM, ITEM]);
  {
    using database = new DatabaseSync(folder.spoolPath);
    const put = database.prepare('UPDATE entry SET entry = ?, record = ? WHERE seq = ?');
    for (const { index, entry } of entries) put.run(entry, RECORD, index);
    database.exec('DROP TABLE common_part; DROP TABLE passed_time; PRAGMA user_version = 3');
  }
  using spool = folder.spool();
  expect(spool.reader.entries(0, 9)).toEqual(entries);
  spool.append([ITEM]);
  expect(spool.reader.entries(2, 3)[0]?.opening?.record).toEqual(RECORD);
});

function recordOf(initiatorId: string): Uint8Array {
  const body = transit(1);
  if (body.case !== 'sessionTransit') throw new Error('a fixture that is no transit');
  const value = { ...body.value, initiatorId };
  return encodeArtifact({ atMs: 1n, postureLevel: 3, postureEpoch: 1n, body: { ...body, value } });
}

function appended(folder: EvidenceFolder, items: readonly SpoolItem[]) {
  using spool = folder.spool();
  spool.append(items);
  return spool.reader.entries(0, items.length);
}

function count(folder: EvidenceFolder, sql: string): number {
  using database = new DatabaseSync(folder.spoolPath);
  return Number(database.prepare(sql).get()?.n);
}
