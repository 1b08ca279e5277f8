/**
 * The spool: evidence on this node's own disk, before anything it speaks of is done. A batch is one transaction: records,
 * their place in the tree and the signed checkpoint that covers them become durable together or not at all, so the number
 * of a record is its index in the log, and a signature never covers what a crash could take back.
 *
 * One process owns the file (exclusive lock). Write-ahead log, synchronous FULL: one sync a batch (docs/decisions/0010).
 */
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { backup, DatabaseSync, type StatementSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  concatBytes,
  type Ed25519,
  encodeEntry,
  Frontier,
  formatCheckpoint,
  formatNote,
  type LogEntry,
  leafHash,
  type NoteSigner,
  parseNote,
  recordEntry,
  SALT_BYTES,
  type Sha256,
  signNote,
} from '../../protocol/evidence/index.ts';
import { Ballast } from './ballast.ts';
import { migrate } from './migrations.ts';
import { checkOpened, readTree, type Tree } from './spool-check.ts';
import { SpoolReader } from './spool-reader.ts';
import { failureOf, isFull } from './sqlite-errors.ts';

export interface SpoolParts {
  /** Of the database; its folder is made if need be and is for this user alone. */
  readonly path: string;
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly randomBytes: (length: number) => Uint8Array;
  /** Of the log; the checkpoints bear it. */
  readonly origin: string;
  /** All sign each checkpoint; two of them while a key is changed. */
  readonly signers: readonly NoteSigner[];
  /** Bytes that the spool may have on disk; ordinary evidence may not have the last `reserveBytes` of them. */
  readonly budgetBytes: number;
  /** For what may not be refused. As much is kept taken on the disk itself. */
  readonly reserveBytes: number;
}

/** What one batch holds. Records come encoded: what is hashed is what is stored. */
export type SpoolItem =
  | {
      readonly to: 'log';
      readonly record: Uint8Array;
      readonly kind: number;
      /** Of session transits: the level at transit. */
      readonly level: number | undefined;
      readonly intent?: IntentMark;
    }
  | {
      readonly to: 'left-out';
      readonly record: Uint8Array;
      readonly day: number;
      readonly level: number;
      readonly intent?: IntentMark;
    }
  | { readonly to: 'public'; readonly entry: Exclude<LogEntry, { kind: 'record' }> };

/** An intent stands open until an outcome or a compensation of the same kind and id closes it. */
export interface IntentMark {
  readonly kind: number;
  readonly id: Uint8Array;
  readonly opens: boolean;
}

/** What goes with a batch besides its items. */
export interface BatchNotes {
  /** The next transit number, after this batch. */
  readonly transit?: number;
  /** Left-out records below this number are in batches. */
  readonly batched?: number;
  readonly keys?: readonly SamplingKey[];
}

export interface SamplingKey {
  readonly day: number;
  readonly key: Uint8Array;
  readonly isRevealed: boolean;
}

/** Where an item is: its index in the log, or its number among those left out. */
export interface Place {
  readonly in: 'log' | 'left-out';
  readonly at: number;
}

export interface SpoolRoom {
  readonly usedBytes: number;
  readonly budgetBytes: number;
  /** Ordinary evidence is refused. */
  readonly isFull: boolean;
  /** The room on the disk that is kept for the console is there. */
  readonly isReserveHeld: boolean;
}

export class Spool implements Disposable {
  readonly #parts: SpoolParts;
  readonly #database: DatabaseSync;
  readonly #ballast: Ballast;
  readonly #statements: ReturnType<typeof prepare>;
  readonly reader: SpoolReader;
  #tree: Tree;
  #frontier: Frontier;
  /** After an error of the disk nobody knows what is on it: nothing more is written until it is opened again. */
  #broken: ShellstreamError | undefined;

  /** @throws ShellstreamError EVIDENCE_FAILED that names what is damaged. */
  static open(parts: SpoolParts): Spool {
    mkdirSync(dirname(parts.path), { recursive: true, mode: 0o700 });
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(parts.path);
      chmodSync(parts.path, 0o600);
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
      database.exec('PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON');
      migrate(database);
      return new Spool(parts, database);
    } catch (error) {
      database?.close();
      throw failureOf(parts.path, error);
    }
  }

  private constructor(parts: SpoolParts, database: DatabaseSync) {
    this.#parts = parts;
    this.#database = database;
    this.#statements = prepare(database);
    this.#ballast = new Ballast(`${parts.path}.reserve`, parts.reserveBytes);
    this.reader = new SpoolReader(parts.path, database);
    const tree = readTree(database);
    if (tree === undefined) {
      this.#frontier = new Frontier(parts.sha256);
      this.#tree = { ...EMPTY, checkpoint: this.#sign(this.#frontier) };
      this.#transact(() => this.#writeTree(this.#tree, this.#frontier));
      syncFolder(dirname(parts.path));
    } else {
      this.#frontier = checkOpened(parts, tree, this.reader);
      this.#tree = tree;
      if (!isSignedBy(tree.checkpoint, parts.signers)) this.#signAgain();
    }
    this.#ballast.take();
  }

  /** Entries in the log. */
  get size(): number {
    return this.#tree.size;
  }

  /** The signed checkpoint over all of them. */
  get checkpoint(): Uint8Array {
    return this.#tree.checkpoint;
  }

  /** The counters that are durable. */
  get counters(): { readonly leftOut: number; readonly batched: number; readonly transit: number } {
    const { leftOut, batched, transit } = this.#tree;
    return { leftOut, batched, transit };
  }

  get room(): SpoolRoom {
    const usedBytes = this.#usedBytes();
    const { budgetBytes } = this.#parts;
    return {
      usedBytes,
      budgetBytes,
      isFull: usedBytes >= this.#ordinaryLimit(),
      isReserveHeld: this.#ballast.isHeld,
    };
  }

  /**
   * Makes a batch durable; returns when it is. `mayUseReserve`: it is of the kind that is never refused for want of room.
   * @throws ShellstreamError EVIDENCE_FULL, with nothing written, or EVIDENCE_FAILED
   */
  append(items: readonly SpoolItem[], notes: BatchNotes = {}, mayUseReserve = false): Place[] {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#usedBytes() >= (mayUseReserve ? this.#parts.budgetBytes : this.#ordinaryLimit()))
      throw full('its budget is used up');
    try {
      return this.#commit(items, notes);
    } catch (error) {
      if (!isFull(error)) throw error;
      if (!mayUseReserve || !this.#ballast.release()) throw full('the disk is full', error);
      return this.#commitInReserve(items, notes);
    }
  }

  /** Takes back the room that the console used up, where there is some again. */
  refillReserve(): boolean {
    return this.#ballast.take();
  }

  /** Removes what retention gives up; see `retention.ts`. */
  forget(change: (database: DatabaseSync) => void): void {
    if (this.#broken !== undefined) throw this.#broken;
    this.#transact(() => change(this.#database));
  }

  /** A copy as of one moment, which may be opened as a spool. What comes meanwhile is in it or not. */
  async copyTo(path: string): Promise<void> {
    try {
      await backup(this.#database, path);
      chmodSync(path, 0o600);
      const copy = openSync(path, 'r');
      fsyncSync(copy);
      closeSync(copy);
    } catch (error) {
      throw failureOf(path, error);
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** A key came or went: the same tree, by those that sign now. */
  #signAgain(): void {
    this.#tree = { ...this.#tree, checkpoint: this.#sign(this.#frontier) };
    this.#transact(() => this.#writeTree(this.#tree, this.#frontier));
  }

  #commitInReserve(items: readonly SpoolItem[], notes: BatchNotes): Place[] {
    try {
      return this.#commit(items, notes);
    } catch (error) {
      throw isFull(error) ? full('the disk is full, the reserve too', error) : error;
    }
  }

  #commit(items: readonly SpoolItem[], notes: BatchNotes): Place[] {
    const frontier = this.#frontier.copy();
    const salts = this.#parts.randomBytes(items.length * SALT_BYTES);
    let { leftOut } = this.#tree;
    const places: Place[] = [];
    let tree = this.#tree;
    this.#transact(() => {
      for (const [i, item] of items.entries()) {
        const salt = salts.subarray(i * SALT_BYTES, (i + 1) * SALT_BYTES);
        const place = this.#put(item, salt, frontier, leftOut);
        if (place.in === 'left-out') leftOut += 1;
        places.push(place);
      }
      for (const { day, key, isRevealed } of notes.keys ?? [])
        this.#statements.putKey.run(day, key, isRevealed ? 1 : 0);
      tree = {
        size: frontier.size,
        checkpoint: frontier.size === tree.size ? tree.checkpoint : this.#sign(frontier),
        leftOut,
        batched: notes.batched ?? tree.batched,
        transit: notes.transit ?? tree.transit,
      };
      this.#writeTree(tree, frontier);
    });
    this.#tree = tree;
    this.#frontier = frontier;
    return places;
  }

  #put(item: SpoolItem, salt: Uint8Array, frontier: Frontier, leftOut: number): Place {
    const { sha256 } = this.#parts;
    if (item.to === 'left-out') {
      this.#statements.putLeftOut.run(leftOut, item.day, item.level, salt, item.record);
      if (item.intent !== undefined) this.#mark(item.intent, 1, leftOut);
      return { in: 'left-out', at: leftOut };
    }
    const at = frontier.size;
    if (item.to === 'public') {
      const entry = encodeEntry(item.entry);
      this.#statements.putEntry.run(at, entry, null, null, PUBLIC_KIND, null);
      frontier.append(leafHash(sha256, entry));
      return { in: 'log', at };
    }
    const entry = recordEntry(sha256, salt, item.record);
    this.#statements.putEntry.run(at, entry, salt, item.record, item.kind, item.level ?? null);
    if (item.intent !== undefined) this.#mark(item.intent, 0, at);
    frontier.append(leafHash(sha256, entry));
    return { in: 'log', at };
  }

  #mark({ kind, id, opens }: IntentMark, place: number, at: number): void {
    if (opens) this.#statements.openIntent.run(kind, id, place, at);
    else this.#statements.closeIntent.run(kind, id);
  }

  #sign(frontier: Frontier): Uint8Array {
    const { origin, signers } = this.#parts;
    return formatNote(
      signNote(formatCheckpoint({ origin, size: frontier.size, root: frontier.root(), extensions: [] }), signers),
    );
  }

  #writeTree({ size, checkpoint, leftOut, batched, transit }: Tree, frontier: Frontier): void {
    this.#statements.putTree.run(size, concatBytes(frontier.roots), checkpoint, leftOut, batched, transit);
  }

  #transact(action: () => void): void {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      action();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#rollBack(error);
      throw error instanceof ShellstreamError || isFull(error) ? error : failureOf(this.#parts.path, error);
    }
  }

  #rollBack(cause: unknown): void {
    try {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      if (isFull(cause) || cause instanceof ShellstreamError) return;
    } catch {
      // What the first error says is what there is to say.
    }
    this.#broken = failureOf(this.#parts.path, cause);
  }

  #usedBytes(): number {
    const { pageCount, freePages } = this.#statements;
    const pages = Number(pageCount.get()?.page_count) - Number(freePages.get()?.freelist_count);
    return pages * PAGE_BYTES;
  }

  #ordinaryLimit(): number {
    return this.#parts.budgetBytes - this.#parts.reserveBytes;
  }
}

/** Kind of entries that are no records. */
export const PUBLIC_KIND = 0;

const PAGE_BYTES = 4_096;
const EMPTY = { size: 0, leftOut: 0, batched: 0, transit: 0 };

function prepare(database: DatabaseSync): Record<Statement, StatementSync> {
  return {
    putEntry: database.prepare('INSERT INTO entry (seq, entry, salt, record, kind, level) VALUES (?, ?, ?, ?, ?, ?)'),
    putLeftOut: database.prepare('INSERT INTO left_out (number, day, level, salt, record) VALUES (?, ?, ?, ?, ?)'),
    openIntent: database.prepare('INSERT OR REPLACE INTO open_intent (kind, id, place, at) VALUES (?, ?, ?, ?)'),
    closeIntent: database.prepare('DELETE FROM open_intent WHERE kind = ? AND id = ?'),
    putKey: database.prepare('INSERT OR REPLACE INTO sampling_key (day, key, revealed) VALUES (?, ?, ?)'),
    putTree: database.prepare(
      'INSERT OR REPLACE INTO tree (id, size, frontier, checkpoint, left_out, batched, transit) VALUES (1, ?, ?, ?, ?, ?, ?)',
    ),
    pageCount: database.prepare('PRAGMA page_count'),
    freePages: database.prepare('PRAGMA freelist_count'),
  };
}

type Statement =
  | 'putEntry'
  | 'putLeftOut'
  | 'openIntent'
  | 'closeIntent'
  | 'putKey'
  | 'putTree'
  | 'pageCount'
  | 'freePages';

/** By all of them and nobody else. */
function isSignedBy(checkpoint: Uint8Array, signers: readonly NoteSigner[]): boolean {
  const { signatures } = parseNote(checkpoint);
  if (signatures.length !== signers.length) return false;
  return signers.every(({ name, id }) => signatures.some((one) => one.name === name && one.keyId === id));
}

function full(why: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('EVIDENCE_FULL', `the spool takes no more: ${why}`, { cause });
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
