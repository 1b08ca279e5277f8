/**
 * Where a page ended, as the asker carries it. Opaque to him, of one length, and of use for one question only. One that was
 * changed on its way is told, or what it skips would read as "there was none". It is no secret and gives no right: whoever
 * makes one up is answered as what he may see from there on.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { ShellstreamError } from '../errors.ts';
import { concatBytes, fromHex, sameBytes, toHex } from '../evidence/bytes.ts';

export interface Cursor {
  readonly atMs: number;
  /** Of the last entry that was looked at. */
  readonly number: number;
}

/** @param question of `questionKey`. */
export function formatCursor({ atMs, number }: Cursor, question: Uint8Array): string {
  const place = concatBytes([uint64(atMs), uint64(number)]);
  const bytes = concatBytes([binding(question, place), place]);
  return toHex(bytes);
}

/** @throws ShellstreamError MALFORMED, also for the cursor of another question */
export function parseCursor(text: string, question: Uint8Array): Cursor {
  if (!CURSOR.test(text)) throw malformed('no cursor');
  const bytes = fromHex(text);
  if (!sameBytes(bytes.subarray(0, BINDING_BYTES), binding(question, bytes.subarray(BINDING_BYTES))))
    throw malformed('changed, or of another question');
  const view = new DataView(bytes.buffer, BINDING_BYTES);
  const [atMs, number] = [Number(view.getBigUint64(0)), Number(view.getBigUint64(8))];
  if (!Number.isSafeInteger(atMs) || !Number.isSafeInteger(number)) throw malformed('a cursor out of range');
  return { atMs, number };
}

const BINDING_BYTES = 8;
const CURSOR_BYTES = BINDING_BYTES + 16;
const CURSOR = new RegExp(`^[0-9a-f]{${2 * CURSOR_BYTES}}$`);

/** The place has one length, and stands last. */
function binding(question: Uint8Array, place: Uint8Array): Uint8Array {
  return sha256(concatBytes([question, place])).subarray(0, BINDING_BYTES);
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `cursor: ${what}`);
}
