/** How the spool's rows are written; all of it inside a transaction of the spool's. `spool-reader.ts` reads them. */
import type { DatabaseSync } from 'node:sqlite';
import {
  commitmentOf,
  concatBytes,
  encodeEntry,
  type Frontier,
  leafHash,
  recordEntry,
  recordEntryStart,
  recordLeaf,
  type Sha256,
} from '../../protocol/evidence/index.ts';
import type { PassedMark } from '../base/passed-time.ts';
import type { CommonParts } from './common-parts.ts';
import { RowBatch } from './row-batch.ts';
import type { Tree } from './spool-check.ts';
import type { IntentMark, SamplingKey, SpoolItem } from './spool-items.ts';

/** Of the entry of a record that is kept so many bytes stand: enough to name damage, since the tree is what proves it. */
export const ENTRY_MARK_BYTES = 5;

export class SpoolRows {
  readonly #sha256: Sha256;
  readonly #common: CommonParts;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #entries: RowBatch;
  readonly #leftOut: RowBatch;

  constructor(sha256: Sha256, database: DatabaseSync, common: CommonParts) {
    this.#sha256 = sha256;
    this.#common = common;
    database.function('whole_entry', { directOnly: true }, (salt: unknown, record: unknown) => {
      return salt instanceof Uint8Array && record instanceof Uint8Array
        ? recordEntry(sha256, salt, common.unpack(record))
        : null;
    });
    this.#statements = prepare(database);
    this.#entries = new RowBatch(database, 'entry', ['seq', 'entry', 'salt', 'record', 'kind', 'level']);
    this.#leftOut = new RowBatch(database, 'left_out', ['number', 'day', 'level', 'salt', 'record']);
  }

  /** Returns the leaf of the log's tree. */
  putPublic(at: number, entry: (SpoolItem & { to: 'public' })['entry']): Uint8Array {
    const encoded = encodeEntry(entry);
    this.#entries.add(at, encoded, null, null, PUBLIC_KIND, null);
    return leafHash(this.#sha256, encoded);
  }

  /** Returns the leaf of the log's tree. */
  putRecord(at: number, { record, kind, level, intent }: SpoolItem & { to: 'log' }, salt: Uint8Array): Uint8Array {
    const commitment = commitmentOf(this.#sha256, salt, record);
    const mark = recordEntryStart(commitment, ENTRY_MARK_BYTES);
    this.#entries.add(at, mark, salt, this.#common.pack(record), kind, level ?? null);
    if (intent !== undefined) this.#mark(intent, 0, at);
    return recordLeaf(this.#sha256, commitment);
  }

  putLeftOut(at: number, { record, day, level, intent }: SpoolItem & { to: 'left-out' }, salt: Uint8Array): void {
    this.#leftOut.add(at, day, level, salt, this.#common.pack(record));
    if (intent !== undefined) this.#mark(intent, 1, at);
  }

  /** At the end of a transaction: entries and left-out records are written several at a time. */
  flush(): void {
    this.#entries.flush();
    this.#leftOut.flush();
  }

  /** The transaction is taken back. */
  drop(): void {
    this.#entries.drop();
    this.#leftOut.drop();
  }

  putKey({ day, key, isRevealed }: SamplingKey): void {
    this.#statements.putKey.run(day, key, isRevealed ? 1 : 0);
  }

  putTree({ size, checkpoint, leftOut, batched, transit }: Tree, frontier: Frontier): void {
    this.#statements.putTree.run(size, concatBytes(frontier.roots), checkpoint, leftOut, batched, transit);
  }

  /** Records and salts of the log below `index` go, their entries stay. Returns how many went. */
  forgetRecords(index: number): number {
    return Number(this.#statements.forgetRecords.run(index).changes);
  }

  forgetLeftOut(number: number, commitment: Uint8Array): void {
    this.#statements.forgetLeftOut.run(commitment, number);
  }

  /** Entries of the log below `index` go. */
  forgetEntries(index: number): void {
    this.#statements.forgetEntries.run(index);
  }

  putPassed({ atMs, boot, uptimeMs }: PassedMark): void {
    this.#statements.putPassed.run(atMs, boot, uptimeMs);
  }

  /** Pages of the file that hold something. */
  usedPages(): number {
    const { pageCount, freePages } = this.#statements;
    return Number(pageCount.get()?.page_count) - Number(freePages.get()?.freelist_count);
  }

  #mark({ kind, id, opens }: IntentMark, place: number, at: number): void {
    if (opens) this.#statements.openIntent.run(kind, id, place, at);
    else this.#statements.closeIntent.run(kind, id);
  }
}

/** Kind of entries that are no records. */
const PUBLIC_KIND = 0;

function prepare(database: DatabaseSync) {
  return {
    openIntent: database.prepare('INSERT OR REPLACE INTO open_intent (kind, id, place, at) VALUES (?, ?, ?, ?)'),
    closeIntent: database.prepare('DELETE FROM open_intent WHERE kind = ? AND id = ?'),
    putKey: database.prepare('INSERT OR REPLACE INTO sampling_key (day, key, revealed) VALUES (?, ?, ?)'),
    putTree: database.prepare(
      'INSERT OR REPLACE INTO tree (id, size, frontier, checkpoint, left_out, batched, transit) VALUES (1, ?, ?, ?, ?, ?, ?)',
    ),
    forgetRecords: database.prepare(
      'UPDATE entry SET entry = whole_entry(salt, record), record = NULL, salt = NULL WHERE seq < ? AND record IS NOT NULL',
    ),
    forgetLeftOut: database.prepare('UPDATE left_out SET record = NULL, salt = NULL, commitment = ? WHERE number = ?'),
    forgetEntries: database.prepare('DELETE FROM entry WHERE seq < ?'),
    putPassed: database.prepare('INSERT OR REPLACE INTO passed_time (id, at_ms, boot, uptime_ms) VALUES (1, ?, ?, ?)'),
    pageCount: database.prepare('PRAGMA page_count'),
    freePages: database.prepare('PRAGMA freelist_count'),
  };
}
