/** A log against what an outsider kept of it: earlier checkpoints. The one thing its owner cannot change afterwards. */
import { ShellstreamError } from '../errors.ts';
import { sameBytes } from './bytes.ts';
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts';
import { verifyCosignatures } from './cosignature.ts';
import type { Ed25519 } from './ed25519.ts';
import type { Finding } from './finding.ts';
import type { Sha256 } from './merkle.ts';
import { nodeHash } from './merkle.ts';
import { type Note, parseNote, verifyNote } from './note.ts';
import type { NoteKey } from './note-key.ts';
import { type ReadSubtree, readRange } from './proof.ts';

export interface Trust {
  readonly origin: string;
  /** Keys of the log; one of them must have signed. During a rotation there are two. */
  readonly keys: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
}

export interface TrustedCheckpoint extends Checkpoint {
  readonly note: Note;
  /** Names of the keys whose signatures on it are good, witnesses included. */
  readonly signedBy: readonly string[];
  readonly cosignatures: number;
  /** Witnesses of whom it bears a wrong signature. */
  readonly wrong: readonly string[];
}

/** The checkpoint in a note, or in words why it is not believed. */
export function openCheckpoint(
  ed25519: Ed25519,
  bytes: Uint8Array,
  { origin, keys, witnesses }: Trust,
): TrustedCheckpoint | { readonly refused: string } {
  try {
    const note = parseNote(bytes);
    const verdict = verifyNote(ed25519, note, keys);
    if ('refused' in verdict) return verdict;
    const checkpoint = parseCheckpoint(note.text);
    if (checkpoint.origin !== origin) return { refused: `it is of another log, ${checkpoint.origin}` };
    const { good, wrong } = verifyCosignatures(ed25519, note, witnesses);
    const signedBy = [...verdict.signedBy, ...good.map(({ witness }) => witness)].map(({ name }) => name);
    return { ...checkpoint, note, signedBy, cosignatures: good.length, wrong };
  } catch (error) {
    if (error instanceof ShellstreamError && error.reason === 'MALFORMED') return { refused: error.message };
    throw error;
  }
}

/** Whether the tree begins with the tree of a checkpoint held from earlier; undefined: it does. */
export async function judgeHeld(
  sha256: Sha256,
  held: TrustedCheckpoint,
  current: TrustedCheckpoint,
  read: ReadSubtree,
): Promise<Finding | undefined> {
  const found = (what: 'truncated' | 'forked' | 'rewritten', signedBoth: readonly string[] = []): Finding => ({
    kind: 'held',
    size: held.size,
    what,
    signedBoth,
  });
  if (held.size > current.size) return found('truncated');
  if (held.size === current.size) {
    return sameBytes(held.root, current.root) ? undefined : found('forked', signersOfBoth(held, current));
  }
  return sameBytes(await rootAt(sha256, read, held.size), held.root) ? undefined : found('rewritten');
}

/**
 * Two checkpoints of one log and one size with two roots: proof, for whoever sees both, against each key that signed both.
 * Undefined when they are no such pair.
 */
export function equivocation(one: TrustedCheckpoint, other: TrustedCheckpoint): readonly string[] | undefined {
  if (one.origin !== other.origin || one.size !== other.size || sameBytes(one.root, other.root)) return undefined;
  return signersOfBoth(one, other);
}

/** The root that the tree had when it was of this size, at least 1. */
export async function rootAt(sha256: Sha256, read: ReadSubtree, size: number): Promise<Uint8Array> {
  let root: Uint8Array | undefined;
  let end = size;
  for (let width = 1; end > 0; width *= 2) {
    if (end % (width * 2) === 0) continue;
    const left = await readRange(sha256, read, end - width, width);
    root = root === undefined ? left : nodeHash(sha256, left, root);
    end -= width;
  }
  if (root === undefined) throw new ShellstreamError('INTERNAL', 'no root of no leaves');
  return root;
}

function signersOfBoth(one: TrustedCheckpoint, other: TrustedCheckpoint): readonly string[] {
  return one.signedBy.filter((name) => other.signedBy.includes(name));
}
