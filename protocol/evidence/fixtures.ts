/** What the tests of this folder, and those of others who need a log, are written with. */
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 as noble } from '@noble/hashes/sha2.js';
import { formatCheckpoint } from './checkpoint.ts';
import { cosign } from './cosignature.ts';
import { recordEntry, SALT_BYTES } from './entry.ts';
import { MemoryLog } from './memory-log.ts';
import { Frontier, leafHash, type Sha256 } from './merkle.ts';
import { formatNote, parseNote, signNote } from './note.ts';
import { type KeyType, type NoteSigner, noteKey } from './note-key.ts';
import { TileBuilder } from './tile-builder.ts';

export const ORIGIN = 'alpha.example/evidence';

export const sha256: Sha256 = (...parts) => {
  const hash = noble.create();
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** A key that is the same in every run. */
export function signer(type: KeyType, name: string, seed: number): NoteSigner {
  const secret = new Uint8Array(32).fill(seed);
  const key = noteKey(sha256, type, name, ed25519.getPublicKey(secret));
  return { ...key, sign: (message) => ed25519.sign(message, secret) };
}

export const LOG_KEY: NoteSigner = signer('log', ORIGIN, 1);
export const WITNESS: NoteSigner = signer('cosigner', 'witness.example/w', 2);

/** Entry number `i` of a log of records, by itself. */
export function numberedEntry(i: number): Uint8Array {
  return recordEntry(sha256, new Uint8Array(SALT_BYTES).fill(i), new TextEncoder().encode(`record ${i}`));
}

export function numberedEntries(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedEntry(i));
}

/** The signed checkpoint over entries; with cosignatures of these witnesses at second 1,700,000,000. */
export function checkpointOver(
  entries: readonly Uint8Array[],
  options: {
    readonly signers?: readonly NoteSigner[];
    readonly witnesses?: readonly NoteSigner[];
    readonly origin?: string;
  } = {},
): Uint8Array {
  const { signers = [LOG_KEY], witnesses = [], origin = ORIGIN } = options;
  const frontier = new Frontier(sha256);
  for (const entry of entries) frontier.append(leafHash(sha256, entry));
  const text = formatCheckpoint({ origin, size: entries.length, root: frontier.root(), extensions: [] });
  const note = signNote(text, signers);
  const cosignatures = witnesses.map((witness) => cosign(witness, text, 1_700_000_000));
  return formatNote({ text, signatures: [...note.signatures, ...cosignatures] });
}

/** A whole log, with partial tiles for its present size alone. */
export function memoryLog(
  entries: readonly Uint8Array[],
  options: Parameters<typeof checkpointOver>[1] = {},
): MemoryLog {
  const builder = new TileBuilder(sha256);
  for (const entry of entries) builder.append(entry, leafHash(sha256, entry));
  const files = [...builder.takeFull(), ...builder.partials()].map(({ path, bytes }) => [path, bytes] as const);
  return new MemoryLog([...files, ['checkpoint', checkpointOver(entries, options)]]);
}

/** The note with one bit of its last signature turned. */
export function withWrongSignature(bytes: Uint8Array): Uint8Array {
  const note = parseNote(bytes);
  const last = note.signatures.at(-1);
  if (last === undefined) return bytes;
  const signature = Uint8Array.from(last.signature);
  signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1;
  return formatNote({ ...note, signatures: [...note.signatures.slice(0, -1), { ...last, signature }] });
}
