/**
 * What the leaves of the log are. Records are not in the log: a salted commitment stands for each, so that an outsider
 * holds the whole log and learns nothing of what passed. What anyone must be able to judge alone is there in the clear:
 * the sampling keys, and the roots over what sampling left out.
 *
 * The first byte is the kind; numbers are big-endian; an entry has exactly one spelling.
 */
import { ShellstreamError } from '../errors.ts';
import { concatBytes, utf8 } from './bytes.ts';
import { HASH_BYTES, type Sha256 } from './merkle.ts';

export type LogEntry =
  /** A record is in the hands of the log's owner, who can open this commitment and no other. */
  | { readonly kind: 'record'; readonly commitment: Uint8Array }
  /** Before the day: its sampling key is fixed. */
  | { readonly kind: 'key-committed'; readonly day: number; readonly commitment: Uint8Array }
  /** After the day: everybody may repeat the choice. */
  | { readonly kind: 'key-revealed'; readonly day: number; readonly key: Uint8Array }
  /** Records that sampling left out: `count` of them from number `first`, counted from 0 over the life of the log. */
  | {
      readonly kind: 'left-out';
      readonly day: number;
      readonly first: number;
      readonly count: number;
      /** Over their commitments, as entries of kind `record`: RFC 6962. */
      readonly root: Uint8Array;
    };

export const SALT_BYTES = 16;

const RECORD = 1;
const KEY_COMMITTED = 2;
const KEY_REVEALED = 3;
const LEFT_OUT = 4;
/** More could not be told apart from a length that was made up. */
export const MAX_BATCH = 65_536;
const MAX_COUNT = 2 ** 32 - 1;

const COMMITMENT_LABEL = utf8('shellstream/1 evidence record\0');
const RECORD_KIND = Uint8Array.of(RECORD);
const RECORD_LEAF = Uint8Array.of(0, RECORD);

/**
 * SHA-256 over a label, a salt of 16 random bytes and the record as it is stored: binding, and hiding as long as the salt is
 * secret, however few records are likely.
 */
export function commitmentOf(sha256: Sha256, salt: Uint8Array, record: Uint8Array): Uint8Array {
  // Of fixed length, or a salt and a record could be cut apart at another place.
  if (salt.length !== SALT_BYTES) throw new ShellstreamError('INTERNAL', `a salt of ${salt.length} bytes`);
  return sha256(COMMITMENT_LABEL, salt, record);
}

/** The entry of a record: what `encodeEntry` gives, made without detours since there is one for each record. */
export function recordEntry(sha256: Sha256, salt: Uint8Array, record: Uint8Array): Uint8Array {
  const entry = new Uint8Array(1 + HASH_BYTES);
  entry[0] = RECORD;
  entry.set(commitmentOf(sha256, salt, record), 1);
  return entry;
}

/** The first bytes of the entry of a record. */
export function recordEntryStart(commitment: Uint8Array, length: number): Uint8Array {
  const start = new Uint8Array(length);
  start[0] = RECORD;
  for (let i = 1; i < length; i += 1) start[i] = commitment[i - 1] ?? 0;
  return start;
}

/** The leaf hash of the entry of a record, without the entry. */
export function recordLeaf(sha256: Sha256, commitment: Uint8Array): Uint8Array {
  return sha256(RECORD_LEAF, commitment);
}

export function encodeEntry(entry: LogEntry): Uint8Array {
  switch (entry.kind) {
    case 'record':
      return concatBytes([RECORD_KIND, entry.commitment]);
    case 'key-committed':
      return concatBytes([Uint8Array.of(KEY_COMMITTED), uint32(entry.day), entry.commitment]);
    case 'key-revealed':
      return concatBytes([Uint8Array.of(KEY_REVEALED), uint32(entry.day), entry.key]);
    case 'left-out':
      return concatBytes([
        Uint8Array.of(LEFT_OUT),
        uint32(entry.day),
        uint64(entry.first),
        uint32(entry.count),
        entry.root,
      ]);
  }
}

/** Byte fields are views. @throws ShellstreamError MALFORMED */
export function parseEntry(bytes: Uint8Array): LogEntry {
  const length = LENGTH_OF_KIND[bytes[0] ?? 0];
  if (length === undefined) throw malformed(`of kind ${bytes[0]}`);
  if (bytes.length !== length) throw malformed(`of kind ${bytes[0]} with ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  switch (bytes[0]) {
    case RECORD:
      return { kind: 'record', commitment: bytes.subarray(1) };
    case KEY_COMMITTED:
      return { kind: 'key-committed', day: view.getUint32(1), commitment: bytes.subarray(5) };
    case KEY_REVEALED:
      return { kind: 'key-revealed', day: view.getUint32(1), key: bytes.subarray(5) };
    default: {
      const first = Number(view.getBigUint64(5));
      const count = view.getUint32(13);
      if (count < 1 || count > MAX_BATCH) throw malformed(`over ${count} records left out`);
      if (!Number.isSafeInteger(first + count)) throw malformed('with a number out of range');
      return { kind: 'left-out', day: view.getUint32(1), first, count, root: bytes.subarray(17) };
    }
  }
}

const LENGTH_OF_KIND: Readonly<Record<number, number>> = {
  [RECORD]: 1 + HASH_BYTES,
  [KEY_COMMITTED]: 5 + HASH_BYTES,
  [KEY_REVEALED]: 5 + HASH_BYTES,
  [LEFT_OUT]: 17 + HASH_BYTES,
};

function uint32(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > MAX_COUNT)
    throw new ShellstreamError('INTERNAL', `no uint32: ${value}`);
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function uint64(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0) throw new ShellstreamError('INTERNAL', `no number: ${value}`);
  return concatBytes([uint32(Math.floor(value / 2 ** 32)), uint32(value % 2 ** 32)]);
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `log entry ${what}`);
}
