/**
 * What Quartermaster holds, in one SQLite file that one process owns: entries by {origin, lane, sequence} without a gap,
 * proposals, and the tokens they used up. Whatever `transact` returns from is durable.
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Opening, sameBytes } from '../../protocol/evidence/index.ts';
import {
  ARTIFACT_KINDS,
  type LogName,
  type Submission,
  type SubmittedEntry,
} from '../../protocol/quartermaster/index.ts';
import type { PassedMark } from '../base/passed-time.ts';
import { failureOf, isFull } from '../evidence/sqlite-errors.ts';
import { migrate } from './migrations.ts';
import { sessionKey } from './session-key.ts';
import { type RecordSource, StoreReader } from './store-reader.ts';

export interface StoreParts {
  /** Of the database; its folder is made if need be and is for this user alone. */
  readonly path: string;
  /** Bytes that it may have on disk; when they are used up nothing more is taken until retention made room. */
  readonly budgetBytes: number;
  /** `behind-spool`: what a power cut takes back is in the spool of this host still, or in a stream, and is sent again. */
  readonly durability: 'own' | 'behind-spool';
  /** Where the bytes of records are had again: then they are not kept here, only what finds them. */
  readonly records?: RecordSource;
}

export interface NewProposal {
  readonly proposer: string;
  readonly receivedMs: number;
  readonly content: Uint8Array;
  readonly token: { readonly id: string; readonly expiresAtMs: number };
}

export class Store implements Disposable {
  readonly #parts: StoreParts;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly reader: StoreReader;
  readonly #names = new Map<string, number>();
  #lastDay: number;
  #broken: ShellstreamError | undefined;

  /** @throws ShellstreamError EVIDENCE_FAILED */
  static open(parts: StoreParts): Store {
    mkdirSync(dirname(parts.path), { recursive: true, mode: 0o700 });
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(parts.path);
      chmodSync(parts.path, 0o600);
      const synchronous = parts.durability === 'own' ? 'FULL' : 'NORMAL';
      database.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}`);
      database.exec('PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -16384');
      migrate(database);
      return new Store(parts, database);
    } catch (error) {
      database?.close();
      throw failureOf(parts.path, error);
    }
  }

  private constructor(parts: StoreParts, database: DatabaseSync) {
    this.#parts = parts;
    this.#database = database;
    this.#statements = prepare(database);
    this.reader = new StoreReader(parts.path, database, parts.records);
    this.#lastDay = this.reader.lastDay();
  }

  /**
   * One transaction. What `action` throws takes it back, and is thrown.
   * @throws ShellstreamError EVIDENCE_FULL, EVIDENCE_FAILED
   */
  transact<T>(action: () => T): T {
    if (this.#broken !== undefined) throw this.#broken;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const result = action();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      // What was remembered may be of what is taken back.
      this.#names.clear();
      this.#lastDay = 0;
      this.#rollBack(error);
      throw failureOf(this.#parts.path, error);
    }
  }

  /**
   * What of it is not held yet, to be put; undefined: nothing. Writes nothing.
   * @throws ShellstreamError EVIDENCE_GAP with `expected`, EVIDENCE_FORK, EVIDENCE_FULL
   */
  judge({ log, first, entries }: Submission): Submission | undefined {
    const { next = 0, id } = this.reader.log(log) ?? {};
    if (first > next) {
      throw new ShellstreamError('EVIDENCE_GAP', `${next} is expected, not ${first}`, { fields: { expected: next } });
    }
    const held = Math.min(next - first, entries.length);
    if (id !== undefined) this.#compare(id, first, entries.slice(0, held));
    if (held === entries.length) return undefined;
    if (this.usedBytes >= this.#parts.budgetBytes)
      throw new ShellstreamError('EVIDENCE_FULL', 'the budget of Quartermaster is used up');
    return { log, first: first + held, entries: entries.slice(held) };
  }

  /**
   * Inside `transact`. Puts what was judged, here or by who shares its stream with us, without judging again.
   * @param firstNumber of the arrival; without: after all others.
   */
  put({ log, first, entries }: Submission, nowMs: number, firstNumber?: number): void {
    const row = this.reader.log(log)?.id ?? this.#newLog(log);
    const from = firstNumber ?? this.reader.lastNumber() + 1;
    this.#startDay(nowMs, from);
    for (const [i, entry] of entries.entries()) this.#insert(from + i, row, first + i, entry);
    this.#statements.setNext.run(first + entries.length, row);
  }

  /** The sequence that is expected next. */
  next(log: LogName): number {
    return this.reader.log(log)?.next ?? 0;
  }

  /** Inside `transact`. @returns its number. @throws ShellstreamError REQUEST_TOKEN_SPENT */
  spend({ token, ...proposal }: NewProposal): number {
    const isSpent = token.expiresAtMs <= this.reader.state().horizonMs || this.reader.isSpent(token.id);
    if (isSpent) throw new ShellstreamError('REQUEST_TOKEN_SPENT');
    this.#statements.spend.run(Buffer.from(token.id, 'hex'), token.expiresAtMs);
    return this.putProposal(proposal);
  }

  /** Inside `transact`: one whose token was spent elsewhere. @param number without: the next. */
  putProposal({ proposer, receivedMs, content }: Omit<NewProposal, 'token'>, number?: number): number {
    const { lastInsertRowid } = this.#statements.putProposal.run(number ?? null, proposer, receivedMs, content);
    return Number(lastInsertRowid);
  }

  /** Inside `transact`. */
  setApplied(sequence: number): void {
    this.#statements.setApplied.run(sequence);
  }

  /** Forgets tokens that ended before `ms`; from here on such a token is spent, whatever the clock says. */
  forgetTokens(ms: number): void {
    this.transact(() => {
      this.#statements.raiseHorizon.run(ms);
      this.#statements.forgetTokens.run(ms);
    });
  }

  /** Forgets at most `most` of what arrived before the day `day`, oldest first. Returns how many went. */
  forgetBefore(day: number, most: number): number {
    const first = this.reader.firstOfDay(day);
    return this.transact(() => Number(this.#statements.forget.run(first, most).changes));
  }

  /** So much time was seen to pass. */
  keepPassed({ atMs, boot, uptimeMs }: PassedMark): void {
    this.transact(() => void this.#statements.putPassed.run(atMs, boot, uptimeMs));
  }

  get usedBytes(): number {
    const { pageCount, freePages } = this.#statements;
    return (Number(pageCount.get()?.page_count) - Number(freePages.get()?.freelist_count)) * PAGE_BYTES;
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** A node that was put back to an older state and went on would write its history anew. */
  #compare(log: number, first: number, entries: readonly SubmittedEntry[]): void {
    for (const [i, entry] of entries.entries()) {
      const row = this.reader.stored(log, first + i);
      if (row === undefined || isSame(row, entry)) continue;
      throw new ShellstreamError('EVIDENCE_FORK', `another entry ${first + i} is held`, {
        fields: { sequence: first + i },
      });
    }
  }

  #newLog({ origin, lane }: LogName): number {
    return Number(this.#statements.newLog.run(origin, lane).lastInsertRowid);
  }

  #startDay(nowMs: number, first: number): void {
    const day = dayOf(nowMs);
    if (day <= this.#lastDay) return;
    this.#statements.startDay.run(day, first);
    this.#lastDay = day;
  }

  #insert(number: number, log: number, sequence: number, entry: SubmittedEntry): void {
    const { insert } = this.#statements;
    if (entry.what !== 'record') {
      insert.run(
        number,
        log,
        sequence,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        entry.what === 'leaf' ? entry.leaf : null,
      );
      return;
    }
    const { facts, opening } = entry;
    const isElsewhere = this.#parts.records !== undefined;
    insert.run(
      number,
      log,
      sequence,
      ARTIFACT_KINDS.get(facts.kind) ?? null,
      facts.atMs,
      facts.level ?? null,
      facts.session === undefined ? null : sessionKey(Buffer.from(facts.session, 'hex')),
      this.#name(facts.actor),
      this.#name(facts.peer),
      isElsewhere ? null : opening.salt,
      isElsewhere ? digestOf(opening) : opening.record,
    );
  }

  #name(text: string | undefined): number | null {
    if (text === undefined) return null;
    const known = this.#names.get(text) ?? this.reader.nameId(text);
    const id = known ?? Number(this.#statements.newName.run(text).lastInsertRowid);
    if (this.#names.size >= MAX_CACHED_NAMES) this.#names.clear();
    this.#names.set(text, id);
    return id;
  }

  #rollBack(cause: unknown): void {
    try {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      if (cause instanceof ShellstreamError || isFull(cause)) return;
    } catch {
      // What the first error says is what there is to say.
    }
    // After an error of the disk nobody knows what is on it.
    this.#broken = failureOf(this.#parts.path, cause);
  }
}

export function dayOf(ms: number): number {
  return Math.floor(ms / 86_400_000);
}

const PAGE_BYTES = 4_096;
const MAX_CACHED_NAMES = 4_096;

type Statements = ReturnType<typeof prepare>;

function prepare(database: DatabaseSync) {
  return {
    newLog: database.prepare('INSERT INTO log (origin, lane, next) VALUES (?, ?, 0)'),
    setNext: database.prepare('UPDATE log SET next = ? WHERE id = ?'),
    newName: database.prepare('INSERT INTO name (text) VALUES (?)'),
    insert: database.prepare('INSERT INTO artifact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    startDay: database.prepare('INSERT OR IGNORE INTO day (day, first) VALUES (?, ?)'),
    forget: database.prepare(
      'DELETE FROM artifact WHERE number IN (SELECT number FROM artifact WHERE number < ? ORDER BY number LIMIT ?)',
    ),
    putProposal: database.prepare('INSERT INTO proposal VALUES (?, ?, ?, ?)'),
    spend: database.prepare('INSERT INTO spent_token (id, expires_ms) VALUES (?, ?)'),
    raiseHorizon: database.prepare('UPDATE state SET horizon_ms = max(horizon_ms, ?)'),
    forgetTokens: database.prepare('DELETE FROM spent_token WHERE expires_ms <= ?'),
    putPassed: database.prepare('INSERT OR REPLACE INTO passed_time (id, at_ms, boot, uptime_ms) VALUES (1, ?, ?, ?)'),
    setApplied: database.prepare('UPDATE state SET applied = ?'),
    pageCount: database.prepare('PRAGMA page_count'),
    freePages: database.prepare('PRAGMA freelist_count'),
  };
}

/** Of a record whose bytes are elsewhere: enough to notice that they are others by now. */
function digestOf({ salt, record }: Opening): Uint8Array {
  return createHash('sha256').update(salt).update(record).digest().subarray(0, DIGEST_BYTES);
}

const DIGEST_BYTES = 8;

function isSame(row: Readonly<Record<string, SQLOutputValue>>, entry: SubmittedEntry): boolean {
  const { salt, content, kind } = row;
  switch (entry.what) {
    case 'gone':
      // It forgot what we hold: no contradiction.
      return true;
    case 'leaf':
      // Of a record whose time is over the leaf is left, and we hold the record.
      return kind !== null || content === null || isBytes(content, entry.leaf);
    case 'record':
      if (kind !== null && salt === null) return isBytes(content, digestOf(entry.opening));
      return salt === null || (isBytes(salt, entry.opening.salt) && isBytes(content, entry.opening.record));
  }
}

function isBytes(value: SQLOutputValue | undefined, bytes: Uint8Array): boolean {
  return value instanceof Uint8Array && sameBytes(value, bytes);
}
