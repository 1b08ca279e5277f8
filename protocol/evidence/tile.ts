/**
 * Tiles of c2sp.org/tlog-tiles: the tree cut into pieces of height 8, each a file of up to 256 hashes; and the bundles of
 * 256 entries under them. Coordinates and paths; what lies in them is read and written elsewhere.
 */
import { ShellstreamError } from '../errors.ts';
import { emptyRoot, HASH_BYTES, nodeHash, type Sha256 } from './merkle.ts';
import type { ReadSubtree } from './proof.ts';

export const TILE_HEIGHT = 8;
export const TILE_WIDTH = 256;

/** `level` counts tiles upwards from the leaves; `width` is 256 for a full tile, 1 to 255 for a partial one. */
export interface Tile {
  readonly level: number;
  readonly index: number;
  readonly width: number;
}

/** A bundle of entries; numbered and cut as the tiles of level 0. */
export interface Bundle {
  readonly index: number;
  readonly width: number;
}

/** Bytes of a tile, which exactly fill it; undefined when it is not there. */
export type ReadTile = (tile: Tile) => Promise<Uint8Array | undefined>;

/** `tile/0/x001/234/067` or, partial, `tile/0/x001/234/067.p/12`. */
export function tilePath({ level, index, width }: Tile): string {
  return `tile/${level}/${indexPath(index)}${partSuffix(width)}`;
}

export function bundlePath({ index, width }: Bundle): string {
  return `tile/entries/${indexPath(index)}${partSuffix(width)}`;
}

/** The resource that a path names; undefined for every spelling but the one the specification gives it. */
export function parseTilePath(
  path: string,
): ({ readonly kind: 'tile' } & Tile) | ({ readonly kind: 'entries' } & Bundle) | undefined {
  // Longer ones number more tiles than sizes are exact for.
  if (path.length > MAX_PATH) return undefined;
  const match = /^tile\/(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/.exec(path);
  if (match === null) return undefined;
  const [, level = '', digits = '', part] = match;
  const index = Number(digits.replaceAll(/[x/]/g, ''));
  const width = part === undefined ? TILE_WIDTH : Number(part);
  if (part !== undefined && width >= TILE_WIDTH) return undefined;
  // Leading groups of zeroes would be second names of one tile.
  if (!Number.isSafeInteger(index) || indexPath(index) !== digits) return undefined;
  if (level === 'entries') return { kind: 'entries', index, width };
  return Number(level) > MAX_LEVEL ? undefined : { kind: 'tile', level: Number(level), index, width };
}

/** The tiles of a tree of `size` leaves at `level`: how many are full, and the width of the partial one (0: none). */
export function tilesAt(level: number, size: number): { readonly full: number; readonly partial: number } {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  return { full: Math.floor(hashes / TILE_WIDTH), partial: hashes % TILE_WIDTH };
}

/** Levels that a tree of `size` leaves has tiles at. */
export function levelsOf(size: number): number {
  let levels = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / TILE_WIDTH)) levels += 1;
  return levels;
}

/** The root over the hashes of a tile, or over those of them from `from` that make a subtree. */
export function tileRoot(sha256: Sha256, hashes: readonly Uint8Array[]): Uint8Array {
  let row = hashes;
  while (row.length > 1) {
    const next: Uint8Array[] = [];
    for (let i = 0; i < row.length; i += 2) next.push(nodeHash(sha256, at(row, i), at(row, i + 1)));
    row = next;
  }
  return at(row, 0);
}

/** The root of a tree by what its tiles have left over: by level from 0, the hashes of the last tile that is not full. */
export function rootOfRows(sha256: Sha256, rows: readonly (readonly Uint8Array[])[]): Uint8Array {
  let root: Uint8Array | undefined;
  for (const row of rows) {
    let end = row.length;
    // Smallest subtrees first, from the right.
    for (let width = 1; end > 0; width *= 2) {
      if (end % (width * 2) === 0) continue;
      const left = tileRoot(sha256, row.slice(end - width, end));
      root = root === undefined ? left : nodeHash(sha256, left, root);
      end -= width;
    }
  }
  return root ?? emptyRoot(sha256);
}

export function splitTile(bytes: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let i = 0; i < bytes.length; i += HASH_BYTES) hashes.push(bytes.subarray(i, i + HASH_BYTES));
  return hashes;
}

/**
 * Subtrees of a tree of `size` leaves, read from its tiles. Nothing is checked: who proves from it proves what the tiles
 * say, and the proof fails where they lie.
 */
export function subtreesOf(sha256: Sha256, size: number, readTile: ReadTile): ReadSubtree {
  return async (height, index) => {
    // A subtree of a tile's whole height is a single hash one level up, where the tile below may have been pruned.
    const level = Math.floor(height / TILE_HEIGHT);
    const span = 2 ** (height % TILE_HEIGHT);
    const first = index * span;
    const tile = Math.floor(first / TILE_WIDTH);
    const { full, partial } = tilesAt(level, size);
    const width = tile < full ? TILE_WIDTH : partial;
    // A log may drop a partial tile once the full one is there, which begins with it.
    const partialTile = await readTile({ level, index: tile, width });
    const bytes =
      partialTile ?? (width < TILE_WIDTH ? await readTile({ level, index: tile, width: TILE_WIDTH }) : undefined);
    const from = (first % TILE_WIDTH) * HASH_BYTES;
    if (bytes === undefined || bytes.length < from + span * HASH_BYTES) {
      throw new ShellstreamError('MALFORMED', `tile ${tilePath({ level, index: tile, width })} is missing or short`);
    }
    return tileRoot(sha256, splitTile(bytes.subarray(from, from + span * HASH_BYTES)));
  };
}

const MAX_LEVEL = 63;
const MAX_PATH = 64;

function indexPath(index: number): string {
  const digits = String(index);
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/[0-9]{3}/g) ?? [];
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
}

function partSuffix(width: number): string {
  return width === TILE_WIDTH ? '' : `.p/${width}`;
}

function at(row: readonly Uint8Array[], index: number): Uint8Array {
  const hash = row[index];
  if (hash === undefined) throw new ShellstreamError('INTERNAL', `no hash ${index} among ${row.length}`);
  return hash;
}
