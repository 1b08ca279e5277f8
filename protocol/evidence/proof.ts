/**
 * Inclusion and consistency proofs of RFC 6962, sections 2.1.1 and 2.1.2: made from stored subtrees, and checked by who
 * holds nothing but two roots. Checking is strict: a proof that is too long or too short proves nothing.
 */
import { ShellstreamError } from '../errors.ts';
import { sameBytes } from './bytes.ts';
import { HASH_BYTES, LARGEST_SIZE, nodeHash, type Sha256, splitPoint } from './merkle.ts';

/** The root of the perfect subtree of `2 ** height` leaves whose number in its row is `index`. */
export type ReadSubtree = (height: number, index: number) => Promise<Uint8Array>;

/** From the leaf's sibling up. @throws ShellstreamError INTERNAL when there is no such leaf. */
export async function proveInclusion(
  sha256: Sha256,
  read: ReadSubtree,
  index: number,
  size: number,
): Promise<Uint8Array[]> {
  if (index < 0 || index >= size) throw new ShellstreamError('INTERNAL', `no leaf ${index} in a tree of ${size}`);
  return path(sha256, read, index, 0, size);
}

/** That the tree of `newSize` begins with the tree of `oldSize`. Empty when they are equal, or the old one is empty. */
export async function proveConsistency(
  sha256: Sha256,
  read: ReadSubtree,
  oldSize: number,
  newSize: number,
): Promise<Uint8Array[]> {
  if (oldSize > newSize) throw new ShellstreamError('INTERNAL', `no tree of ${oldSize} in one of ${newSize}`);
  if (oldSize === 0 || oldSize === newSize) return [];
  return subproof(sha256, read, oldSize, 0, newSize, true);
}

/** Whether `leaf` is number `index` of the tree of `size` leaves with this root. */
export function includes(
  sha256: Sha256,
  proof: readonly Uint8Array[],
  leaf: Uint8Array,
  index: number,
  size: number,
  root: Uint8Array,
): boolean {
  if (!isSize(size) || !Number.isSafeInteger(index) || index < 0 || index >= size || !areHashes(proof)) return false;
  let hash = leaf;
  let [number, last] = [index, size - 1];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (number % 2 === 1 || number === last) {
      hash = nodeHash(sha256, sibling, hash);
      while (number % 2 === 0 && number !== 0) [number, last] = [half(number), half(last)];
    } else {
      hash = nodeHash(sha256, hash, sibling);
    }
    [number, last] = [half(number), half(last)];
  }
  return last === 0 && sameBytes(hash, root);
}

/** Whether the tree of `newSize` with `newRoot` begins with the tree of `oldSize` with `oldRoot`. */
export function isConsistent(
  sha256: Sha256,
  proof: readonly Uint8Array[],
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
): boolean {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize || !areHashes(proof)) return false;
  if (oldSize === newSize) return proof.length === 0 && sameBytes(oldRoot, newRoot);
  // Everything begins with nothing.
  if (oldSize === 0) return proof.length === 0;
  let [number, last] = [oldSize - 1, newSize - 1];
  while (number % 2 === 1) [number, last] = [half(number), half(last)];
  // An old tree that is one perfect subtree is its own starting point.
  const steps = number === 0 ? [oldRoot, ...proof] : proof;
  const [start, ...rest] = steps;
  if (start === undefined) return false;
  let [inOld, inNew] = [start, start];
  for (const step of rest) {
    if (last === 0) return false;
    if (number % 2 === 1 || number === last) {
      inOld = nodeHash(sha256, step, inOld);
      inNew = nodeHash(sha256, step, inNew);
      while (number % 2 === 0 && number !== 0) [number, last] = [half(number), half(last)];
    } else {
      inNew = nodeHash(sha256, inNew, step);
    }
    [number, last] = [half(number), half(last)];
  }
  return last === 0 && sameBytes(inOld, oldRoot) && sameBytes(inNew, newRoot);
}

/** The root over leaves `start` to `start + length - 1`, where `start` is a multiple of the subtree's size. */
export async function readRange(sha256: Sha256, read: ReadSubtree, start: number, length: number): Promise<Uint8Array> {
  const height = Math.log2(length);
  if (Number.isInteger(height)) return read(height, start / length);
  const split = splitPoint(length);
  const left = await readRange(sha256, read, start, split);
  return nodeHash(sha256, left, await readRange(sha256, read, start + split, length - split));
}

async function path(
  sha256: Sha256,
  read: ReadSubtree,
  index: number,
  start: number,
  length: number,
): Promise<Uint8Array[]> {
  if (length === 1) return [];
  const split = splitPoint(length);
  if (index < split) {
    const below = await path(sha256, read, index, start, split);
    return [...below, await readRange(sha256, read, start + split, length - split)];
  }
  const below = await path(sha256, read, index - split, start + split, length - split);
  return [...below, await readRange(sha256, read, start, split)];
}

async function subproof(
  sha256: Sha256,
  read: ReadSubtree,
  oldSize: number,
  start: number,
  length: number,
  isOldRoot: boolean,
): Promise<Uint8Array[]> {
  if (oldSize === length) return isOldRoot ? [] : [await readRange(sha256, read, start, length)];
  const split = splitPoint(length);
  if (oldSize <= split) {
    const left = await subproof(sha256, read, oldSize, start, split, isOldRoot);
    return [...left, await readRange(sha256, read, start + split, length - split)];
  }
  const right = await subproof(sha256, read, oldSize - split, start + split, length - split, false);
  return [...right, await readRange(sha256, read, start, split)];
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= LARGEST_SIZE;
}

function areHashes(proof: readonly Uint8Array[]): boolean {
  return proof.every(({ length }) => length === HASH_BYTES);
}

/** Sizes exceed 32 bits: no shifts. */
function half(value: number): number {
  return Math.floor(value / 2);
}
