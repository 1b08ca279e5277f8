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
  type Ed25519,
  Frontier,
  formatCheckpoint,
  formatNote,
  type NoteSigner,
  parseNote,
  SALT_BYTES,
  type Sha256,
  signNote,
} from '../../protocol/evidence/index.ts';
import { Ballast } from './ballast.ts';
import { CommonParts } from './common-parts.ts';
import { migrate } from './migrations.ts';
import { checkOpened, readTree, type Tree } from './spool-check.ts';
import type { BatchNotes, Place, SpoolItem, SpoolRoom } from './spool-items.ts';
import { SpoolReader } from './spool-reader.ts';
import { SpoolRows } from './spool-rows.ts';
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
  /** Around each commit of a batch: its caller waits as long. */
  readonly timed?: <T>(commit: () => T) => T;
}

export class Spool implements Disposable {
  readonly #parts: SpoolParts;
  readonly #database: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #end: StatementSync;
  readonly #ballast: Ballast;
  readonly #common: CommonParts;
  readonly #rows: SpoolRows;
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
    // Parsed once: a commit of one record is little else than its sync.
    this.#begin = database.prepare('BEGIN IMMEDIATE');
    this.#end = database.prepare('COMMIT');
    this.#common = new CommonParts(parts.sha256, database);
    this.#rows = new SpoolRows(parts.sha256, database, this.#common);
    this.#ballast = new Ballast(`${parts.path}.reserve`, parts.reserveBytes);
    this.reader = new SpoolReader(parts.path, database, parts.sha256, this.#common);
    const tree = readTree(database);
    if (tree === undefined) {
      this.#frontier = new Frontier(parts.sha256);
      this.#tree = { ...EMPTY, checkpoint: this.#sign(this.#frontier) };
      this.#transact(() => this.#rows.putTree(this.#tree, this.#frontier));
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
    const { timed = untimed } = this.#parts;
    try {
      return timed(() => this.#commit(items, notes));
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

  /** Removes what retention gives up, in one transaction; see `retention.ts`. */
  forget(change: (rows: SpoolRows) => void): void {
    if (this.#broken !== undefined) throw this.#broken;
    this.#transact(() => change(this.#rows));
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
    this.#transact(() => this.#rows.putTree(this.#tree, this.#frontier));
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
      for (const key of notes.keys ?? []) this.#rows.putKey(key);
      tree = {
        size: frontier.size,
        checkpoint: frontier.size === tree.size ? tree.checkpoint : this.#sign(frontier),
        leftOut,
        batched: notes.batched ?? tree.batched,
        transit: notes.transit ?? tree.transit,
      };
      this.#rows.putTree(tree, frontier);
    });
    this.#tree = tree;
    this.#frontier = frontier;
    return places;
  }

  #put(item: SpoolItem, salt: Uint8Array, frontier: Frontier, leftOut: number): Place {
    const rows = this.#rows;
    const at = item.to === 'left-out' ? leftOut : frontier.size;
    switch (item.to) {
      case 'left-out':
        rows.putLeftOut(at, item, salt);
        return { in: 'left-out', at };
      case 'public':
        frontier.append(rows.putPublic(at, item.entry));
        return { in: 'log', at };
      case 'log':
        frontier.append(rows.putRecord(at, item, salt));
        return { in: 'log', at };
    }
  }

  #sign(frontier: Frontier): Uint8Array {
    const { origin, signers } = this.#parts;
    return formatNote(
      signNote(formatCheckpoint({ origin, size: frontier.size, root: frontier.root(), extensions: [] }), signers),
    );
  }

  #transact(action: () => void): void {
    try {
      this.#begin.run();
      action();
      this.#rows.flush();
      this.#end.run();
      this.#common.settle(true);
    } catch (error) {
      this.#common.settle(false);
      this.#rows.drop();
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
    return this.#rows.usedPages() * PAGE_BYTES;
  }

  #ordinaryLimit(): number {
    return this.#parts.budgetBytes - this.#parts.reserveBytes;
  }
}

function untimed<T>(commit: () => T): T {
  return commit();
}

const PAGE_BYTES = 4_096;
const EMPTY = { size: 0, leftOut: 0, batched: 0, transit: 0 };

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
