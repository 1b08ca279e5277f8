/**
 * What is checked when a spool is opened: that its checkpoint is of its own key and its own tree, and that the newest
 * entries, those a torn write would hit, are what the tree says. All of it is checked by `verify-log`.
 */
import type { DatabaseSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type Ed25519,
  Frontier,
  HASH_BYTES,
  leafHash,
  type NoteSigner,
  openCheckpoint,
  rootOf,
  type Sha256,
  sameBytes,
  splitTile,
} from '../../protocol/evidence/index.ts';
import type { SpoolEntry, SpoolReader } from './spool-reader.ts';

/** The row that says how far the log goes. */
export interface Tree {
  readonly size: number;
  readonly checkpoint: Uint8Array;
  readonly leftOut: number;
  readonly batched: number;
  readonly transit: number;
}

export interface CheckParts {
  readonly path: string;
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly origin: string;
  readonly signers: readonly NoteSigner[];
}

/** Undefined for a spool that was never written to. */
export function readTree(database: DatabaseSync): Tree | undefined {
  const row = database.prepare('SELECT * FROM tree').get();
  if (row === undefined) return undefined;
  const { size, checkpoint, left_out: leftOut, batched, transit } = row;
  const numbers = [size, leftOut, batched, transit];
  if (!(checkpoint instanceof Uint8Array) || numbers.some((value) => typeof value !== 'number')) {
    throw new ShellstreamError('EVIDENCE_FAILED', 'the spool’s tree is damaged');
  }
  return {
    size: Number(size),
    checkpoint,
    leftOut: Number(leftOut),
    batched: Number(batched),
    transit: Number(transit),
  };
}

/** The frontier to go on from. @throws ShellstreamError EVIDENCE_FAILED that names what does not fit. */
export function checkOpened(parts: CheckParts, tree: Tree, reader: SpoolReader): Frontier {
  const { sha256, ed25519, origin, signers, path } = parts;
  const damaged = (what: string): ShellstreamError => new ShellstreamError('EVIDENCE_FAILED', `${path}: ${what}`);
  const last = reader.lastIndex();
  if (last !== tree.size - 1) throw damaged(`its tree has ${tree.size} entries, its last one is ${last}`);
  const frontier = frontierOf(sha256, tree.size, reader, damaged);
  const checkpoint = openCheckpoint(ed25519, tree.checkpoint, { origin, keys: signers, witnesses: [] });
  if ('refused' in checkpoint) throw damaged(`its checkpoint: ${checkpoint.refused}`);
  if (checkpoint.size !== tree.size) throw damaged(`its checkpoint is of ${checkpoint.size} entries, not ${tree.size}`);
  if (!sameBytes(checkpoint.root, frontier.root())) throw damaged('its tree is not the one it signed');
  return frontier;
}

/** Undefined: the entry is what it was, as far as its own bytes tell. */
export function entryFault({ index, isDamaged }: SpoolEntry): string | undefined {
  return isDamaged ? `the record of entry ${index} is not what the entry commits to` : undefined;
}

function frontierOf(
  sha256: Sha256,
  size: number,
  reader: SpoolReader,
  damaged: (what: string) => ShellstreamError,
): Frontier {
  const roots = splitTile(reader.frontier());
  if (roots.some(({ length }) => length !== HASH_BYTES)) throw damaged('its frontier is torn');
  const frontier = readFrontier(sha256, size, roots, damaged);
  // The subtrees that make up less than a full tile are hashed again from the entries themselves.
  let end = size;
  let place = roots.length - 1;
  for (let width = 1; width < 256 && end > 0; width *= 2) {
    if (end % (width * 2) === 0) continue;
    const entries = reader.entries(end - width, end);
    for (const entry of entries) {
      const fault = entryFault(entry);
      if (fault !== undefined) throw damaged(fault);
    }
    const root = rootOf(
      sha256,
      entries.map(({ entry }) => leafHash(sha256, entry)),
    );
    const kept = roots[place];
    if (kept === undefined || !sameBytes(root, kept))
      throw damaged(`an entry of ${end - width} to ${end - 1} was changed`);
    end -= width;
    place -= 1;
  }
  return frontier;
}

function readFrontier(
  sha256: Sha256,
  size: number,
  roots: readonly Uint8Array[],
  damaged: (what: string) => ShellstreamError,
): Frontier {
  try {
    return new Frontier(sha256, size, roots);
  } catch {
    throw damaged(`its frontier has ${roots.length} subtrees, none of a tree of ${size}`);
  }
}
