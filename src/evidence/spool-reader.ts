/** What the spool holds, as typed rows. Reads are of a few rows or in pages: nobody gets ten million at once. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Opening, recordEntry, type Sha256, sameBytes } from '../../protocol/evidence/index.ts';
import type { PassedMark } from '../base/passed-time.ts';
import type { CommonParts } from './common-parts.ts';
import { failureOf } from './sqlite-errors.ts';

export interface SpoolEntry {
  readonly index: number;
  readonly entry: Uint8Array;
  /** Undefined: a public entry, or a record whose time is over. */
  readonly opening: Opening | undefined;
  /** The record is not what its entry committed to: one of the two was changed on the disk, and what `entry` was is not known. */
  readonly isDamaged: boolean;
  readonly kind: number;
  readonly level: number | undefined;
}

export interface LeftOutRow {
  readonly number: number;
  readonly day: number;
  readonly level: number;
  readonly opening: Opening | undefined;
  /** Kept where the record is not. */
  readonly commitment: Uint8Array | undefined;
}

export interface OpenIntent {
  readonly kind: number;
  readonly id: Uint8Array;
  readonly in: 'log' | 'left-out';
  readonly at: number;
}

export interface SamplingKeyRow {
  readonly day: number;
  readonly key: Uint8Array;
  readonly isRevealed: boolean;
}

type Row = Record<string, SQLOutputValue>;

export class SpoolReader {
  readonly #path: string;
  readonly #sha256: Sha256;
  readonly #common: CommonParts;
  readonly #byIndex: StatementSync;
  readonly #byLevel: StatementSync;
  readonly #byKind: StatementSync;
  readonly #public: StatementSync;
  readonly #leftOut: StatementSync;
  readonly #intents: StatementSync;
  readonly #keys: StatementSync;
  readonly #last: StatementSync;
  readonly #first: StatementSync;
  readonly #frontier: StatementSync;
  readonly #firstRecord: StatementSync;
  readonly #firstOpening: StatementSync;
  readonly #passed: StatementSync;

  constructor(path: string, database: DatabaseSync, sha256: Sha256, common: CommonParts) {
    this.#path = path;
    this.#sha256 = sha256;
    this.#common = common;
    this.#byIndex = database.prepare('SELECT * FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq');
    this.#byLevel = database.prepare('SELECT * FROM entry WHERE level = ? AND seq > ? ORDER BY seq LIMIT ?');
    this.#byKind = database.prepare('SELECT * FROM entry WHERE kind = ? AND kind > 1 AND seq > ? ORDER BY seq LIMIT ?');
    this.#public = database.prepare('SELECT * FROM entry WHERE kind = 0 AND seq > ? ORDER BY seq LIMIT ?');
    this.#leftOut = database.prepare('SELECT * FROM left_out WHERE number >= ? AND number < ? ORDER BY number');
    this.#intents = database.prepare('SELECT * FROM open_intent ORDER BY place, at');
    this.#keys = database.prepare('SELECT * FROM sampling_key ORDER BY day');
    this.#frontier = database.prepare('SELECT frontier FROM tree');
    this.#firstRecord = database.prepare(
      'SELECT seq AS first FROM entry WHERE record IS NOT NULL ORDER BY seq LIMIT 1',
    );
    this.#firstOpening = database.prepare(
      'SELECT number AS first FROM left_out WHERE record IS NOT NULL ORDER BY number LIMIT 1',
    );
    this.#passed = database.prepare('SELECT * FROM passed_time');
    this.#first = database.prepare('SELECT min(seq) AS first FROM entry');
    this.#last = database.prepare('SELECT max(seq) AS last FROM entry');
  }

  /** Roots of the perfect subtrees of the whole tree, largest first, one after another. */
  frontier(): Uint8Array {
    const [row] = this.#all(this.#frontier, (found) => bytes(found.frontier));
    return row ?? new Uint8Array(0);
  }

  /** Entries `from` up to but not including `to`. */
  entries(from: number, to: number): SpoolEntry[] {
    return this.#all(this.#byIndex, this.#entry, from, to);
  }

  /** Of one kind but session transits, in the order of the log, after the entry `after`. */
  ofKind(kind: number, after = -1, limit = 100): SpoolEntry[] {
    return this.#all(this.#byKind, this.#entry, kind, after, limit);
  }

  /** Sampling keys and batch roots, after the entry `after`. */
  publicEntries(after: number, limit: number): SpoolEntry[] {
    return this.#all(this.#public, this.#entry, after, limit);
  }

  /** "All transits while at level N", in the order of the log, after the entry `after`. */
  transitsAt(level: number, after = -1, limit = 100): SpoolEntry[] {
    return this.#all(this.#byLevel, this.#entry, level, after, limit);
  }

  leftOut(from: number, to: number): LeftOutRow[] {
    return this.#all(this.#leftOut, this.#leftOutRow, from, to);
  }

  /** Intents that no outcome followed: what a crash left undecided. */
  openIntents(): OpenIntent[] {
    return this.#all(this.#intents, (row) => ({
      kind: number(row.kind),
      id: bytes(row.id),
      in: number(row.place) === 0 ? 'log' : 'left-out',
      at: number(row.at),
    }));
  }

  samplingKeys(): SamplingKeyRow[] {
    return this.#all(this.#keys, (row) => ({
      day: number(row.day),
      key: bytes(row.key),
      isRevealed: number(row.revealed) === 1,
    }));
  }

  /** Of the last entry; -1: there is none. */
  lastIndex(): number {
    const [last = -1] = this.#all(this.#last, ({ last: found }) => (found === null ? -1 : number(found)));
    return last;
  }

  /** Of the oldest entry that was not pruned; 0: there is none. */
  firstEntry(): number {
    const [first = 0] = this.#all(this.#first, ({ first: found }) => (found === null ? 0 : number(found)));
    return first;
  }

  /** Index of the oldest record that was not given up; 0: there is none. */
  firstRecord(): number {
    const [first = 0] = this.#all(this.#firstRecord, (row) => number(row.first));
    return first;
  }

  /** Number of the oldest left-out record that was not given up; 0: there is none. */
  firstLeftOut(): number {
    const [first = 0] = this.#all(this.#firstOpening, (row) => number(row.first));
    return first;
  }

  readonly #entry = (row: Row): SpoolEntry => {
    const opening = this.#opening(row);
    const stored = bytes(row.entry);
    const entry = opening === undefined ? stored : recordEntry(this.#sha256, opening.salt, opening.record);
    return {
      index: number(row.seq),
      entry,
      opening,
      isDamaged: !sameBytes(entry.subarray(0, stored.length), stored),
      kind: number(row.kind),
      level: row.level === null ? undefined : number(row.level),
    };
  };

  readonly #leftOutRow = (row: Row): LeftOutRow => ({
    number: number(row.number),
    day: number(row.day),
    level: number(row.level),
    opening: this.#opening(row),
    commitment: row.commitment === null ? undefined : bytes(row.commitment),
  });

  #opening({ salt, record }: Row): Opening | undefined {
    return salt === null || record === null
      ? undefined
      : { salt: bytes(salt), record: this.#common.unpack(bytes(record)) };
  }

  /** Undefined: no time was seen to pass yet. */
  passed(): PassedMark | undefined {
    const [mark] = this.#all(this.#passed, ({ at_ms, boot, uptime_ms }) => ({
      atMs: number(at_ms),
      boot: String(boot),
      uptimeMs: number(uptime_ms),
    }));
    return mark;
  }

  #all<T>(statement: StatementSync, read: (row: Row) => T, ...parameters: number[]): T[] {
    try {
      return statement.all(...parameters).map(read);
    } catch (error) {
      throw failureOf(this.#path, error);
    }
  }
}

function number(value: SQLOutputValue | undefined): number {
  if (typeof value !== 'number')
    throw new ShellstreamError('EVIDENCE_FAILED', 'the spool holds no number where one must be');
  return value;
}

function bytes(value: SQLOutputValue | undefined): Uint8Array {
  if (!(value instanceof Uint8Array))
    throw new ShellstreamError('EVIDENCE_FAILED', 'the spool holds no bytes where some must be');
  return value;
}
