import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex } from './bytes.ts';
import { numberedEntries, sha256 } from './fixtures.ts';
import { emptyRoot, Frontier, leafHash, nodeHash, rootOf, splitPoint } from './merkle.ts';
import { includes, isConsistent, proveConsistency, proveInclusion, type ReadSubtree } from './proof.ts';

const VECTORS: { leaves: string[]; nodes: string[][]; roots: string[] } = JSON.parse(
  readFileSync(new URL('../vectors/tlog/merkle.json', import.meta.url), 'utf8'),
);
const LEAVES = numberedEntries(70).map((entry) => leafHash(sha256, entry));

describe('the tree of RFC 6962', () => {
  it('has the public roots for 0 to 8 leaves', () => {
    const leaves = VECTORS.leaves.map((hex) => leafHash(sha256, fromHex(hex)));
    expect(leaves).toEqual(VECTORS.nodes[0]?.map(fromHex));
    for (const [size, root] of VECTORS.roots.entries()) {
      expect(rootOf(sha256, leaves.slice(0, size)), `${size} leaves`).toEqual(fromHex(root));
    }
    expect(emptyRoot(sha256)).toEqual(fromHex(VECTORS.roots[0] ?? ''));
  });

  it('has the public hash for every perfect subtree', () => {
    const leaves = VECTORS.leaves.map((hex) => leafHash(sha256, fromHex(hex)));
    for (const [height, row] of VECTORS.nodes.entries()) {
      for (const [i, hash] of row.entries()) {
        expect(rootOf(sha256, leaves.slice(i << height, (i + 1) << height))).toEqual(fromHex(hash));
      }
    }
  });

  it('grows by its frontier to what the definition says', () => {
    const frontier = new Frontier(sha256);
    for (const [i, leaf] of LEAVES.entries()) {
      frontier.append(leaf);
      expect(frontier.root()).toEqual(defined(LEAVES.slice(0, i + 1)));
      const kept = new Frontier(sha256, frontier.size, frontier.roots);
      expect(kept.root()).toEqual(frontier.root());
    }
  });
});

describe('proofs', () => {
  it('prove every leaf of every size, in the place that it has and in no other', async () => {
    for (let size = 1; size <= LEAVES.length; size += 1) {
      const root = defined(LEAVES.slice(0, size));
      for (let index = 0; index < size; index += 1) {
        const proof = await proveInclusion(sha256, subtrees(size), index, size);
        const leaf = LEAVES[index] ?? root;
        expect(includes(sha256, proof, leaf, index, size, root)).toBe(true);
        expect(includes(sha256, proof, leaf, (index + 1) % (size + 1), size, root)).toBe(size === 0);
      }
    }
  });

  it('prove every older tree to be the beginning of a later one', async () => {
    for (let size = 1; size <= LEAVES.length; size += 1) {
      const root = defined(LEAVES.slice(0, size));
      for (let old = 1; old <= size; old += 1) {
        const proof = await proveConsistency(sha256, subtrees(size), old, size);
        expect(isConsistent(sha256, proof, old, defined(LEAVES.slice(0, old)), size, root), `${old} in ${size}`).toBe(
          true,
        );
      }
    }
  });

  it('fail when they are changed, cut, lengthened, or meant for another size or root', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 70 }),
        fc.nat(69),
        fc.nat(255),
        fc.constantFrom('flip', 'cut', 'lengthen', 'size', 'root', 'leaf'),
        async (size, at, noise, how) => {
          const index = at % size;
          const read = subtrees(size);
          const root = defined(LEAVES.slice(0, size));
          const proof = await proveInclusion(sha256, read, index, size);
          const leaf = LEAVES[index] ?? root;
          const wrong = spoil(proof, noise, how);
          expect(
            includes(
              sha256,
              wrong,
              how === 'leaf' ? root : leaf,
              index,
              how === 'size' ? size * 2 + noise : size,
              how === 'root' ? leaf : root,
            ),
          ).toBe(false);
          const old = Math.max(1, index);
          const consistency = await proveConsistency(sha256, read, old, size);
          const oldRoot = defined(LEAVES.slice(0, old));
          if (how === 'size' || how === 'leaf' || (how === 'flip' && consistency.length === 0)) return;
          expect(
            isConsistent(sha256, spoil(consistency, noise, how), old, oldRoot, size, how === 'root' ? oldRoot : root),
          ).toBe(how === 'cut' && consistency.length === 0);
        },
      ),
    );
  });

  it('prove no older tree with another root, nor one of another size', async () => {
    for (let size = 2; size <= 20; size += 1) {
      const root = defined(LEAVES.slice(0, size));
      for (let old = 1; old < size; old += 1) {
        const proof = await proveConsistency(sha256, subtrees(size), old, size);
        const oldRoot = defined(LEAVES.slice(0, old));
        for (const forged of [root, defined(LEAVES.slice(1, old + 1)), oldRoot.with(31, (oldRoot[31] ?? 0) ^ 1)]) {
          expect(isConsistent(sha256, proof, old, forged, size, root), `${old} in ${size}`).toBe(false);
        }
        expect(isConsistent(sha256, proof, old + 1, oldRoot, size, root), `${old} as ${old + 1}`).toBe(false);
      }
    }
  });

  it('prove nothing for sizes that are no sizes', () => {
    const root = rootOf(sha256, LEAVES);
    for (const size of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 54]) {
      expect(includes(sha256, [], root, 0, size, root)).toBe(false);
      expect(isConsistent(sha256, [], 1, root, size, root)).toBe(false);
    }
    expect(isConsistent(sha256, [], 3, root, 2, root)).toBe(false);
  });
});

/** The definition itself, recursive. */
function defined(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (first === undefined) return emptyRoot(sha256);
  if (leaves.length === 1) return first;
  const split = splitPoint(leaves.length);
  return nodeHash(sha256, defined(leaves.slice(0, split)), defined(leaves.slice(split)));
}

function subtrees(size: number): ReadSubtree {
  return async (height, index) => {
    const [from, to] = [index * 2 ** height, (index + 1) * 2 ** height];
    expect(to).toBeLessThanOrEqual(size);
    return defined(LEAVES.slice(from, to));
  };
}

function spoil(proof: readonly Uint8Array[], noise: number, how: string): Uint8Array[] {
  const copy = proof.map((hash) => Uint8Array.from(hash));
  if (how === 'lengthen') copy.push(new Uint8Array(32).fill(noise));
  if (how === 'cut') copy.pop();
  const hash = copy[noise % Math.max(copy.length, 1)];
  if (how === 'flip' && hash !== undefined) hash[noise % 32] = (hash[noise % 32] ?? 0) ^ 1;
  return copy;
}
