/**
 * How the spool writes a record: with a number in the place of what many records share, the accord's hash and the SPIFFE
 * IDs. What is read back is the record bit for bit, since that is what was hashed. Nothing but size hangs on which fields
 * are looked for, so one that was not foreseen only costs its bytes.
 *
 * `0 ‖ (length ‖ bytes of its own ‖ number of a part)* ‖ length ‖ bytes of its own`, lengths and numbers as protobuf's
 * varints. No artifact begins with 0, so a record that was written whole is told from a packed one.
 */
import { concatBytes, MAX_RECORD_BYTES } from '../../protocol/evidence/index.ts';

/** Number of a part that records share, `record` from `start` to `end`; or undefined: it stays where it is. */
export type NumberOf = (record: Uint8Array, start: number, end: number) => number | undefined;

export function packRecord(record: Uint8Array, numberOf: NumberOf): Uint8Array {
  const cuts: Cut[] = [];
  const outer = new Cursor(record, 0, record.length);
  while (outer.next()) {
    const wanted = SHARED.get(outer.number);
    if (wanted === undefined) continue;
    const inner = new Cursor(record, outer.start, outer.at);
    while (inner.next()) {
      const { start, at: end } = inner;
      if (end - start < SHORTEST_PART || end - start > LONGEST_PART || !wanted.has(inner.number)) continue;
      const number = numberOf(record, start, end);
      if (number !== undefined) cuts.push({ start, end, number });
    }
  }
  return cuts.length === 0 && record[0] !== PACKED ? record : withoutCuts(record, cuts);
}

/** Undefined: the bytes were changed on the disk, and are none that were written. */
export function unpackRecord(
  stored: Uint8Array,
  partOf: (number: number) => Uint8Array | undefined,
): Uint8Array | undefined {
  if (stored[0] !== PACKED) return stored;
  const pieces: Uint8Array[] = [];
  let total = 0;
  for (let at = 1; ; ) {
    const own = readVarint(stored, at);
    if (own === undefined || own.end + own.value > stored.length) return undefined;
    at = own.end + own.value;
    pieces.push(stored.subarray(own.end, at));
    if (at === stored.length) return concatBytes(pieces);
    const number = readVarint(stored, at);
    const part = number && partOf(number.value);
    if (number === undefined || part === undefined) return undefined;
    // A few damaged bytes could name a long part ever again.
    total += part.length;
    if (total > MAX_RECORD_BYTES) return undefined;
    pieces.push(part);
    at = number.end;
  }
}

/** Fields of `Artifact` and in them those that say the same in many records, in the order of their numbers. */
const SHARED: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  // SessionTransitArtifact: accord_hash, initiator_id, responder_id.
  [16, new Set([5, 6, 7])],
  // NetworkMutationArtifact: accord_hash, actor_id.
  [17, new Set([4, 5])],
]);
const SHORTEST_PART = 16;
const LONGEST_PART = 512;

const PACKED = 0;
const MOST_VARINT = 10;

/** In the place of the bytes from `start` to `end` stands a number. */
interface Cut {
  readonly start: number;
  readonly end: number;
  readonly number: number;
}

function withoutCuts(record: Uint8Array, cuts: readonly Cut[]): Uint8Array {
  let size = 1;
  let from = 0;
  for (const { start, end, number } of cuts) {
    size += varintSize(start - from) + (start - from) + varintSize(number);
    from = end;
  }
  size += varintSize(record.length - from) + (record.length - from);
  // Out of Node's pool: memory of its own costs more than all the rest.
  const packed: Uint8Array = Buffer.allocUnsafe(size);
  packed[0] = PACKED;
  let at = 1;
  from = 0;
  for (const { start, end, number } of cuts) {
    at = putVarint(packed, putOwn(packed, at, record, from, start), number);
    from = end;
  }
  putOwn(packed, at, record, from, record.length);
  return packed;
}

/** Returns where it ends. */
function putOwn(packed: Uint8Array, start: number, record: Uint8Array, from: number, to: number): number {
  let at = putVarint(packed, start, to - from);
  if (to - from > FEW) {
    packed.set(record.subarray(from, to), at);
    return at + to - from;
  }
  for (let i = from; i < to; i += 1) packed[at++] = record[i] ?? 0;
  return at;
}

/** Bytes that are copied sooner than a call does it. */
const FEW = 64;

function putVarint(packed: Uint8Array, start: number, value: number): number {
  let at = start;
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) packed[at++] = (left % 128) + 128;
  packed[at++] = left;
  return at;
}

function varintSize(value: number): number {
  let size = 1;
  for (let left = value; left >= 128; left = Math.floor(left / 128)) size += 1;
  return size;
}

/** Fields that have a length, one after another, as far as they can be read: what looks like no artifact has few. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #to: number;
  number = 0;
  start = 0;
  /** Behind the field. */
  at: number;

  constructor(bytes: Uint8Array, from: number, to: number) {
    this.#bytes = bytes;
    this.at = from;
    this.#to = to;
  }

  next(): boolean {
    while (this.at < this.#to) {
      const tag = this.#varint();
      const value = this.#varint();
      const kind = tag % 8;
      if (kind === VARINT) continue;
      this.number = Math.floor(tag / 8);
      this.start = this.at;
      this.at += value;
      return kind === WITH_LENGTH && this.at <= this.#to;
    }
    return false;
  }

  /** Not a number where none ends; then no field is there. What is beyond 2^53 is rounded: no length is. */
  #varint(): number {
    let value = 0;
    for (let scale = 1, last = this.at + MOST_VARINT; this.at < last; scale *= 128) {
      const byte = this.#bytes[this.at++] ?? Number.NaN;
      if (byte < 128) return value + byte * scale;
      value += (byte - 128) * scale;
    }
    return Number.NaN;
  }
}

const VARINT = 0;
const WITH_LENGTH = 2;

/** Undefined: it does not end. */
function readVarint(bytes: Uint8Array, from: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let at = from, scale = 1; at < from + MOST_VARINT; at += 1, scale *= 128) {
    const byte = bytes[at];
    if (byte === undefined) return undefined;
    value += (byte % 128) * scale;
    if (byte < 128) return { value, end: at + 1 };
  }
  return undefined;
}
