/** Questions to the store. Every read is of a few rows or of a page; a page looks at so many rows and no more. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Opening, parseArtifact } from '../../protocol/evidence/index.ts';
import {
  ARTIFACT_KINDS,
  type Cursor,
  factsOf,
  Lane,
  type LogName,
  type Question,
  type Wanted,
} from '../../protocol/quartermaster/index.ts';
import type { PassedMark } from '../base/passed-time.ts';
import { failureOf } from '../evidence/sqlite-errors.ts';
import { sessionKey } from './session-key.ts';

export interface StoredRecord {
  readonly number: number;
  readonly log: LogName;
  readonly sequence: number;
  readonly opening: Opening;
}

export interface Page {
  readonly found: readonly StoredRecord[];
  /** Where to go on; undefined: there are no more. */
  readonly next: Cursor | undefined;
}

export interface StoredProposal {
  readonly number: number;
  readonly proposer: string;
  readonly receivedMs: number;
  readonly content: Uint8Array;
}

/** Where records are that a store has no bytes of. */
export interface RecordSource {
  /** Undefined: its time is over there. @throws ShellstreamError EVIDENCE_FAILED while nothing can be read */
  opening(lane: LogName['lane'], sequence: number): Opening | undefined;
}

type Row = Record<string, SQLOutputValue>;

interface Arm {
  readonly where: string;
  readonly key: number;
}

export class StoreReader {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #records: RecordSource | undefined;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, database: DatabaseSync, records?: RecordSource) {
    this.#path = path;
    this.#database = database;
    this.#records = records;
  }

  log({ origin, lane }: LogName): { readonly id: number; readonly next: number } | undefined {
    const row = this.#get('SELECT id, next FROM log WHERE origin = ? AND lane = ?', origin, lane);
    return row && { id: Number(row.id), next: Number(row.next) };
  }

  stored(log: number, sequence: number): Row | undefined {
    return this.#get('SELECT kind, salt, content FROM artifact WHERE log = ? AND seq = ?', log, sequence);
  }

  lastNumber(): number {
    return Number(this.#get("SELECT seq FROM sqlite_sequence WHERE name = 'artifact'")?.seq ?? 0);
  }

  nameId(text: string): number | undefined {
    const row = this.#get('SELECT id FROM name WHERE text = ?', text);
    return row && Number(row.id);
  }

  isSpent(id: string): boolean {
    return this.#get('SELECT 1 FROM spent_token WHERE id = ?', Buffer.from(id, 'hex')) !== undefined;
  }

  state(): { readonly horizonMs: number; readonly applied: number } {
    const row = this.#get('SELECT horizon_ms, applied FROM state');
    return { horizonMs: Number(row?.horizon_ms), applied: Number(row?.applied) };
  }

  /** Undefined: no time was seen to pass yet. */
  passed(): PassedMark | undefined {
    const row = this.#get('SELECT * FROM passed_time');
    return row && { atMs: Number(row.at_ms), boot: String(row.boot), uptimeMs: Number(row.uptime_ms) };
  }

  lastDay(): number {
    return Number(this.#get('SELECT max(day) AS day FROM day')?.day ?? 0);
  }

  /** The first number that arrived on this day or later. */
  firstOfDay(day: number): number {
    const row = this.#get('SELECT min(first) AS first FROM day WHERE day >= ?', day);
    return typeof row?.first === 'number' ? row.first : this.lastNumber() + 1;
  }

  proposals(after: number, limit: number): StoredProposal[] {
    return this.#all('SELECT * FROM proposal WHERE number > ? ORDER BY number LIMIT ?', after, limit).map((row) => ({
      number: Number(row.number),
      proposer: String(row.proposer),
      receivedMs: Number(row.received_ms),
      content: bytes(row.content),
    }));
  }

  /** A page in the order of time. It may be short, or empty, and still not be the last. */
  query(question: Question): Page {
    return this.#page(this.#rows(question), question.wanted, question.limit);
  }

  /** What arrived after `after`, in the order of arrival, and how far was looked. */
  since(
    wanted: Wanted,
    after: number,
    limit: number,
  ): { readonly found: readonly StoredRecord[]; readonly last: number } {
    const sql = `SELECT ${FACTS} FROM artifact WHERE number > ? ORDER BY number LIMIT ${MAX_SCANNED}`;
    const { found, next } = this.#page(this.#prepared(sql).iterate(after), wanted, limit);
    return { found, last: next?.number ?? Math.max(after, this.lastNumber()) };
  }

  #page(rows: Iterable<Row>, wanted: Wanted, limit: number): Page {
    const isWanted = this.#test(wanted);
    const found: StoredRecord[] = [];
    let [scanned, size] = [0, 0];
    let last: Cursor | undefined;
    try {
      for (const row of rows) {
        if (last !== undefined && (found.length >= limit || scanned >= MAX_SCANNED || size >= MAX_PAGE_BYTES))
          return { found, next: last };
        scanned += 1;
        last = { atMs: Number(row.at_ms ?? 0), number: Number(row.number) };
        if (!isWanted(row)) continue;
        const record = this.#record(last.number);
        if (record === undefined || !isOfSession(record, wanted.session)) continue;
        size += record.opening.record.length;
        found.push(record);
      }
    } catch (error) {
      throw failureOf(this.#path, error);
    }
    return { found, next: undefined };
  }

  /** One walk of an index for each arm, merged as they go: the arms that leave the fewest rows to look at. */
  #arms({ session, identity, level }: Wanted): readonly Arm[] {
    if (session !== undefined) return [{ where: 'session = ?', key: sessionKey(Buffer.from(session, 'hex')) }];
    if (identity !== undefined) {
      // No identity has the number 0.
      const key = this.nameId(identity) ?? 0;
      return [
        { where: 'actor = ?', key },
        { where: 'actor IS NOT peer AND peer = ?', key },
      ];
    }
    // Anything is at or after 0: the index by time alone.
    return level === undefined ? [{ where: 'at_ms >= ?', key: 0 }] : [{ where: 'level = ?', key: level }];
  }

  /** What has the cursor's own time and stands after it, then all that is later: SQLite seeks to neither by pair. */
  *#rows({ wanted, newestFirst, after }: Question): Generator<Row> {
    const { fromMs, toMs } = wanted;
    const arms = this.#arms(wanted);
    const order = newestFirst ? 'DESC' : 'ASC';
    const walk = (range: string, ...bounds: number[]) => {
      const selects = arms.map(({ where }) => `SELECT ${FACTS} FROM artifact WHERE ${where} AND ${range}`);
      const sql = `${selects.join(' UNION ALL ')} ORDER BY at_ms ${order}, number ${order}`;
      return this.#prepared(sql).iterate(...arms.flatMap(({ key }) => [key, ...bounds]));
    };
    if (after === undefined) {
      yield* walk('at_ms >= ? AND at_ms < ?', fromMs, toMs);
      return;
    }
    yield* walk(`at_ms = ? AND number ${newestFirst ? '<' : '>'} ?`, after.atMs, after.number);
    if (newestFirst) yield* walk('at_ms >= ? AND at_ms < ?', fromMs, Math.min(after.atMs, toMs));
    else yield* walk('at_ms >= ? AND at_ms < ?', Math.max(after.atMs + 1, fromMs), toMs);
  }

  #test(wanted: Wanted): (row: Row) => boolean {
    const kinds = new Set([...wanted.kinds].map((kind) => ARTIFACT_KINDS.get(kind)));
    const name = wanted.identity === undefined ? undefined : this.nameId(wanted.identity);
    const session = wanted.session === undefined ? undefined : sessionKey(Buffer.from(wanted.session, 'hex'));
    const logs = wanted.origin === undefined ? undefined : this.#logsOf(wanted.origin);
    return ({ kind, level, session: of, actor, peer, at_ms: atMs, log }) =>
      typeof kind === 'number' &&
      typeof atMs === 'number' &&
      kinds.has(kind) &&
      atMs >= wanted.fromMs &&
      atMs < wanted.toMs &&
      (wanted.level === undefined || level === wanted.level) &&
      (wanted.identity === undefined || (name !== undefined && (actor === name || peer === name))) &&
      (session === undefined || of === session) &&
      (logs === undefined || logs.has(Number(log)));
  }

  #logsOf(origin: string): ReadonlySet<number> {
    return new Set(this.#all('SELECT id FROM log WHERE origin = ?', origin).map(({ id }) => Number(id)));
  }

  /** Undefined: the bytes of it were given up where they are kept. */
  #record(number: number): StoredRecord | undefined {
    const row = this.#get(
      'SELECT origin, lane, seq, salt, content FROM artifact JOIN log ON log.id = artifact.log WHERE number = ?',
      number,
    );
    if (row === undefined) throw new ShellstreamError('EVIDENCE_FAILED', `the store lost the record ${number}`);
    const log: LogName = { origin: String(row.origin), lane: row.lane === Lane.LOG ? Lane.LOG : Lane.LEFT_OUT };
    const sequence = Number(row.seq);
    const opening =
      row.salt === null
        ? this.#records?.opening(log.lane, sequence)
        : { salt: bytes(row.salt), record: bytes(row.content) };
    return opening === undefined ? undefined : { number, log, sequence, opening };
  }

  #prepared(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = this.#database.prepare(sql);
    this.#statements.set(sql, made);
    return made;
  }

  #get(sql: string, ...parameters: (number | string | Uint8Array)[]): Row | undefined {
    return this.#all(sql, ...parameters)[0];
  }

  #all(sql: string, ...parameters: (number | string | Uint8Array)[]): Row[] {
    try {
      return this.#prepared(sql).all(...parameters);
    } catch (error) {
      throw failureOf(this.#path, error);
    }
  }
}

/** A question for something rare must not walk ten million rows in one turn of the loop. */
const MAX_SCANNED = 20_000;
const MAX_PAGE_BYTES = 1_048_576;
const FACTS = 'number, log, kind, at_ms, level, session, actor, peer';

/** The index knows part of the identifier only. */
function isOfSession({ opening }: StoredRecord, session: string | undefined): boolean {
  return session === undefined || factsOf(parseArtifact(opening.record)).session === session;
}

function bytes(value: SQLOutputValue | undefined): Uint8Array {
  if (!(value instanceof Uint8Array))
    throw new ShellstreamError('EVIDENCE_FAILED', 'the store holds no bytes where some must be');
  return value;
}
