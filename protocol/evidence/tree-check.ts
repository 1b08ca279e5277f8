/**
 * Every file of a log against every other: entries against the tiles of level 0, those against the next level, and so on to
 * the root. Holds one bundle and one unfinished tile a level, however large the log is.
 */
import { ShellstreamError } from '../errors.ts';
import { parseBundle } from './bundle.ts';
import { firstDifference } from './bytes.ts';
import type { Finding } from './finding.ts';
import type { LogSource } from './log-source.ts';
import { HASH_BYTES, leafHash, type Sha256 } from './merkle.ts';
import {
  type Bundle,
  bundlePath,
  rootOfRows,
  splitTile,
  TILE_WIDTH,
  type Tile,
  tilePath,
  tileRoot,
  tilesAt,
} from './tile.ts';

export interface TreeCheck {
  readonly sha256: Sha256;
  readonly source: LogSource;
  readonly size: number;
  /** Files that hold nothing from here on may be gone (pruning). */
  readonly minimumIndex: number;
  /** Called with each entry that is what its tile says, in order. */
  readonly onEntry: (index: number, entry: Uint8Array) => void;
  readonly onFinding: (finding: Finding) => void;
}

/** The root that the files give, or undefined when they do not give one. Stops where a file is not what it must be. */
export async function checkTree(check: TreeCheck): Promise<Uint8Array | undefined> {
  const levels = new Levels(check);
  const { full, partial } = tilesAt(0, check.size);
  for (let index = 0; index < full; ) {
    const gone = await levels.skipPruned(index, full);
    if (gone === 'wrong') return undefined;
    index += gone;
    if (gone > 0) continue;
    const root = await checkLeaves(check, { index, width: TILE_WIDTH });
    if (root === 'wrong' || !(await levels.push(1, root))) return undefined;
    index += 1;
  }
  const last = partial === 0 ? [] : await checkedLeaves(check, { index: full, width: partial });
  return last === 'wrong' ? undefined : await levels.root(last);
}

/** The root of a full tile of leaves; 'pruned' when it may be gone and is. */
async function checkLeaves(check: TreeCheck, bundle: Bundle): Promise<Uint8Array | 'pruned' | 'wrong'> {
  const leaves = await checkedLeaves(check, bundle);
  return leaves === 'wrong' ? 'wrong' : leaves.length === 0 ? 'pruned' : tileRoot(check.sha256, leaves);
}

async function checkedLeaves(check: TreeCheck, bundle: Bundle): Promise<Uint8Array[] | 'wrong'> {
  const { sha256, source, minimumIndex, onEntry, onFinding } = check;
  const start = bundle.index * TILE_WIDTH;
  const mayBeGone = start + TILE_WIDTH <= minimumIndex;
  const bytes = await source.entries(bundle);
  const tile = { level: 0, ...bundle };
  if (bytes === undefined) {
    if (!mayBeGone) return missing(onFinding, bundlePath(bundle), start);
    return [];
  }
  const entries = parsed(bytes, bundle, onFinding);
  if (entries === undefined) return 'wrong';
  const leaves = entries.map((entry) => leafHash(sha256, entry));
  const stored = await source.tile(tile);
  if (stored === undefined) return missing(onFinding, tilePath(tile), start);
  for (const [i, entry] of entries.entries()) {
    const leaf = leaves[i] ?? entry;
    const difference = differenceAt(leaf, stored, i);
    if (difference !== undefined) {
      // Which of the two was touched nobody can tell from them alone: the entry is named, and the tile's byte.
      const why = 'the entry and its leaf hash do not agree';
      onFinding({ kind: 'file', path: tilePath(tile), entry: start + i, offset: i * HASH_BYTES + difference, why });
      return 'wrong';
    }
    onEntry(start + i, entry);
  }
  if (stored.length !== leaves.length * HASH_BYTES) return wrongLength(onFinding, tile, stored);
  return leaves;
}

/** The unfinished tile of each level above the leaves. */
class Levels {
  readonly #check: TreeCheck;
  /** By level; a hash below a pruned tile is taken from the tile itself. */
  readonly #rows: (Uint8Array | 'pruned')[][] = [];
  readonly #counts: number[] = [];

  constructor(check: TreeCheck) {
    this.#check = check;
  }

  /** False when a tile that this hash completes is wrong. */
  async push(level: number, hash: Uint8Array | 'pruned'): Promise<boolean> {
    const row = this.#row(level);
    row.push(hash);
    if (row.length < TILE_WIDTH) return true;
    const index = this.#counts[level] ?? 0;
    const hashes = await this.#checked({ level, index, width: TILE_WIDTH }, row);
    if (hashes === undefined) return false;
    this.#counts[level] = index + 1;
    this.#rows[level] = [];
    return this.push(level + 1, hashes === 'pruned' ? 'pruned' : tileRoot(this.#check.sha256, hashes));
  }

  /**
   * How many bundles from this one on lie under the largest tile that may be gone, and is. Without it, whoever signs a huge
   * size keeps its verifier looking for bundles that never were.
   */
  async skipPruned(bundle: number, full: number): Promise<number | 'wrong'> {
    const { source, minimumIndex } = this.#check;
    const last = Math.min(full, Math.floor(minimumIndex / TILE_WIDTH));
    for (let level = highestTileAt(bundle, last); level > 0; level -= 1) {
      const bundles = TILE_WIDTH ** level;
      const tile = { level, index: bundle / bundles, width: TILE_WIDTH };
      if ((await source.tile(tile)) !== undefined) continue;
      for (let below = level; below > 0; below -= 1) this.#counts[below] = (bundle + bundles) / TILE_WIDTH ** below;
      return (await this.push(level + 1, 'pruned')) ? bundles : 'wrong';
    }
    return 0;
  }

  /** The root over what every level has left, and the leaves of the last tile. */
  async root(leaves: readonly Uint8Array[]): Promise<Uint8Array | undefined> {
    const { sha256 } = this.#check;
    const rows: (readonly Uint8Array[])[] = [leaves];
    for (let level = 1; level < Math.max(this.#rows.length, 1); level += 1) {
      const row = this.#row(level);
      const tile = { level, index: this.#counts[level] ?? 0, width: row.length };
      const hashes = row.length === 0 ? [] : await this.#checked(tile, row);
      if (hashes === undefined || hashes === 'pruned') return undefined;
      rows.push(hashes);
    }
    return rootOfRows(sha256, rows);
  }

  async #checked(tile: Tile, row: readonly (Uint8Array | 'pruned')[]): Promise<Uint8Array[] | 'pruned' | undefined> {
    const { source, onFinding, minimumIndex } = this.#check;
    const span = TILE_WIDTH ** tile.level;
    const start = tile.index * TILE_WIDTH * span;
    const stored = await source.tile(tile);
    if (stored === undefined) {
      if (start + TILE_WIDTH * span <= minimumIndex && row.every((hash) => hash === 'pruned')) return 'pruned';
      missing(onFinding, tilePath(tile), start);
      return undefined;
    }
    for (const [i, hash] of row.entries()) {
      const difference = hash === 'pruned' ? undefined : differenceAt(hash, stored, i);
      if (difference === undefined) continue;
      const why = 'not the hash of the tile below';
      onFinding({
        kind: 'file',
        path: tilePath(tile),
        entry: start + i * span,
        offset: i * HASH_BYTES + difference,
        why,
      });
      return undefined;
    }
    if (stored.length !== row.length * HASH_BYTES) {
      wrongLength(onFinding, tile, stored);
      return undefined;
    }
    return splitTile(stored);
  }

  #row(level: number): (Uint8Array | 'pruned')[] {
    const row = this.#rows[level] ?? [];
    this.#rows[level] = row;
    return row;
  }
}

/** The level of the largest tile that begins with this bundle and ends no later than `last`; 0 when none above the leaves does. */
function highestTileAt(bundle: number, last: number): number {
  let level = 0;
  for (let bundles = TILE_WIDTH; bundle % bundles === 0 && bundle + bundles <= last; bundles *= TILE_WIDTH) level += 1;
  return level;
}

function parsed(bytes: Uint8Array, bundle: Bundle, onFinding: TreeCheck['onFinding']): Uint8Array[] | undefined {
  try {
    return parseBundle(bytes, bundle.width);
  } catch (error) {
    if (!(error instanceof ShellstreamError) || error.reason !== 'MALFORMED') throw error;
    const { entry, offset } = error.fields;
    onFinding({
      kind: 'file',
      path: bundlePath(bundle),
      entry: bundle.index * TILE_WIDTH + (typeof entry === 'number' ? entry : 0),
      offset: typeof offset === 'number' ? offset : undefined,
      why: 'not whole entries, exactly as many as there must be',
    });
    return undefined;
  }
}

function differenceAt(hash: Uint8Array, stored: Uint8Array, i: number): number | undefined {
  return firstDifference(hash, stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

function missing(onFinding: TreeCheck['onFinding'], path: string, entry: number): 'wrong' {
  onFinding({ kind: 'file', path, entry, offset: undefined, why: 'missing' });
  return 'wrong';
}

function wrongLength(onFinding: TreeCheck['onFinding'], tile: Tile, stored: Uint8Array): 'wrong' {
  const expected = tile.width * HASH_BYTES;
  const entry = tile.index * TILE_WIDTH ** (tile.level + 1);
  const offset = Math.min(stored.length, expected);
  onFinding({
    kind: 'file',
    path: tilePath(tile),
    entry,
    offset,
    why: `${stored.length} bytes instead of ${expected}`,
  });
  return 'wrong';
}
