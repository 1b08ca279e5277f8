/**
 * The Merkle tree of RFC 6962, section 2.1, with SHA-256: what all proofs of the log are made of.
 *
 * A tree over n leaves is a row of perfect subtrees, largest first, one for each bit of n: its frontier. The row is all
 * that an appender needs to keep, and the root is folded from it.
 */
import { ShellstreamError } from '../errors.ts';
import type { CryptoProvider } from '../noise/crypto.ts';
import { utf8 } from './bytes.ts';

export type Sha256 = CryptoProvider['sha256'];

export const HASH_BYTES = 32;

/** Sizes and indexes are exact up to here; a log that grew by a million a second would take 280 years. */
export const LARGEST_SIZE = Number.MAX_SAFE_INTEGER;

const LEAF_PREFIX = Uint8Array.of(0);
const NODE_PREFIX = Uint8Array.of(1);

/** The root of a tree without leaves: the hash of nothing. */
export function emptyRoot(sha256: Sha256): Uint8Array {
  return sha256(utf8(''));
}

/** The prefixes keep a leaf from being passed off as an inner node, and the other way round. */
export function leafHash(sha256: Sha256, entry: Uint8Array): Uint8Array {
  return sha256(LEAF_PREFIX, entry);
}

export function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(NODE_PREFIX, left, right);
}

/** An append-only tree that keeps its frontier alone. */
export class Frontier {
  readonly #sha256: Sha256;
  /** Roots of perfect subtrees, largest first. */
  readonly #roots: Uint8Array[];
  #size: number;

  constructor(sha256: Sha256, size = 0, roots: readonly Uint8Array[] = []) {
    if (roots.length !== bitsSet(size)) throw new ShellstreamError('INTERNAL', `no frontier of ${size} leaves`);
    this.#sha256 = sha256;
    this.#size = size;
    this.#roots = [...roots];
  }

  get size(): number {
    return this.#size;
  }

  /** Largest subtree first. */
  get roots(): readonly Uint8Array[] {
    return [...this.#roots];
  }

  /** A tree that grows apart from this one. */
  copy(): Frontier {
    return new Frontier(this.#sha256, this.#size, this.#roots);
  }

  append(leaf: Uint8Array): void {
    let root = leaf;
    // Each trailing one of the old size is a subtree as large as the one in hand.
    for (let bits = this.#size; bits % 2 === 1; bits = (bits - 1) / 2) {
      const left = this.#roots.pop();
      if (left === undefined) throw new ShellstreamError('INTERNAL', 'the frontier is short of a subtree');
      root = nodeHash(this.#sha256, left, root);
    }
    this.#roots.push(root);
    this.#size += 1;
  }

  root(): Uint8Array {
    let root: Uint8Array | undefined;
    for (let i = this.#roots.length - 1; i >= 0; i -= 1) {
      const left = this.#roots[i];
      if (left === undefined) break;
      root = root === undefined ? left : nodeHash(this.#sha256, left, root);
    }
    return root ?? emptyRoot(this.#sha256);
  }
}

/** The root over leaf hashes. */
export function rootOf(sha256: Sha256, leaves: Iterable<Uint8Array>): Uint8Array {
  const frontier = new Frontier(sha256);
  for (const leaf of leaves) frontier.append(leaf);
  return frontier.root();
}

/** The largest power of two below n; n is at least 2. */
export function splitPoint(n: number): number {
  let split = 1;
  while (split * 2 < n) split *= 2;
  return split;
}

export function bitsSet(n: number): number {
  let count = 0;
  for (let rest = n; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}
