/** The files of a growing log, from its entries: full tiles and bundles as they fill, partial ones when asked for. */
import { ShellstreamError } from '../errors.ts';
import { encodeBundle } from './bundle.ts';
import { concatBytes } from './bytes.ts';
import type { Sha256 } from './merkle.ts';
import { bundlePath, levelsOf, rootOfRows, TILE_WIDTH, tilePath, tileRoot, tilesAt } from './tile.ts';

export interface LogFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What a builder goes on from: the entries of the last bundle, and the hashes of the last tile of each level, if not full. */
export interface Unfinished {
  readonly size: number;
  readonly entries: readonly Uint8Array[];
  /** By level, from 0. */
  readonly rows: readonly (readonly Uint8Array[])[];
}

export class TileBuilder {
  readonly #sha256: Sha256;
  readonly #rows: Uint8Array[][];
  #entries: Uint8Array[];
  #size: number;
  #full: LogFile[] = [];

  /** @throws ShellstreamError INTERNAL when `from` is not what a tree of that size has left over. */
  constructor(sha256: Sha256, from: Unfinished = { size: 0, entries: [], rows: [] }) {
    for (let level = 0; level < Math.max(levelsOf(from.size), from.rows.length); level += 1) {
      const { partial } = tilesAt(level, from.size);
      if ((from.rows[level]?.length ?? 0) !== partial || (level === 0 && from.entries.length !== partial)) {
        throw new ShellstreamError('INTERNAL', `level ${level} of a log of ${from.size} entries`);
      }
    }
    this.#sha256 = sha256;
    this.#size = from.size;
    this.#entries = [...from.entries];
    this.#rows = from.rows.map((row) => [...row]);
  }

  get size(): number {
    return this.#size;
  }

  append(entry: Uint8Array, leafHash: Uint8Array): void {
    this.#entries.push(entry);
    this.#size += 1;
    if (this.#entries.length === TILE_WIDTH) {
      const index = this.#size / TILE_WIDTH - 1;
      this.#full.push({ path: bundlePath({ index, width: TILE_WIDTH }), bytes: encodeBundle(this.#entries) });
      this.#entries = [];
    }
    this.#push(0, leafHash);
  }

  /** The root over all entries. */
  root(): Uint8Array {
    return rootOfRows(this.#sha256, this.#rows);
  }

  /** Files that became full since the last call. */
  takeFull(): LogFile[] {
    const full = this.#full;
    this.#full = [];
    return full;
  }

  /** Files that a checkpoint of this size needs besides the full ones. */
  partials(): LogFile[] {
    const files: LogFile[] = [];
    const width = this.#entries.length;
    if (width > 0) {
      const index = Math.floor(this.#size / TILE_WIDTH);
      files.push({ path: bundlePath({ index, width }), bytes: encodeBundle(this.#entries) });
    }
    for (const [level, row] of this.#rows.entries()) {
      if (row.length === 0) continue;
      const index = tilesAt(level, this.#size).full;
      files.push({ path: tilePath({ level, index, width: row.length }), bytes: concatBytes(row) });
    }
    return files;
  }

  #push(level: number, hash: Uint8Array): void {
    const row = this.#rows[level] ?? [];
    this.#rows[level] = row;
    row.push(hash);
    if (row.length < TILE_WIDTH) return;
    const index = tilesAt(level, this.#size).full - 1;
    this.#full.push({ path: tilePath({ level, index, width: TILE_WIDTH }), bytes: concatBytes(row) });
    this.#rows[level] = [];
    this.#push(level + 1, tileRoot(this.#sha256, row));
  }
}
