import { ShellstreamError } from '../../protocol/errors.ts';

/**
 * A reader for DER (X.690 §10) that refuses whatever BER allows beside it: indefinite and overlong lengths, tags of
 * several bytes, loose booleans and integers, trailing bytes. Two encodings of one certificate would give two hashes,
 * and a lenient reader here with a strict one elsewhere would see two certificates in the same bytes.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get atEnd(): boolean {
    return this.#at === this.#end;
  }

  /** The tag of the next element, or undefined at the end. */
  peekTag(): number | undefined {
    return this.atEnd ? undefined : this.#bytes[this.#at];
  }

  /** The next element, whatever it is. */
  next(): DerElement {
    const start = this.#at;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw malformed('a tag of several bytes');
    const length = this.#length();
    const from = this.#at;
    const to = from + length;
    if (to > this.#end) throw malformed('an element longer than what holds it');
    this.#at = to;
    return new DerElement(tag, this.#bytes, start, from, to);
  }

  expect(tag: number): DerElement {
    const element = this.next();
    if (element.tag !== tag) throw malformed(`tag ${element.tag} where ${tag} belongs`);
    return element;
  }

  /** The next element if it has this tag; nothing is read otherwise. */
  optional(tag: number): DerElement | undefined {
    return this.peekTag() === tag ? this.next() : undefined;
  }

  /** Throws unless everything was read. */
  end(): void {
    if (!this.atEnd) throw malformed('trailing bytes');
  }

  #byte(): number {
    const value = this.#at < this.#end ? this.#bytes[this.#at] : undefined;
    if (value === undefined) throw malformed('cut short');
    this.#at += 1;
    return value;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > MAX_LENGTH_BYTES) throw malformed('an indefinite or oversized length');
    let length = 0;
    for (let i = 0; i < count; i += 1) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw malformed('a length not in its shortest form');
    return length;
  }
}

export class DerElement {
  readonly tag: number;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #from: number;
  readonly #to: number;

  constructor(tag: number, bytes: Uint8Array, start: number, from: number, to: number) {
    this.tag = tag;
    this.#bytes = bytes;
    this.#start = start;
    this.#from = from;
    this.#to = to;
  }

  /** The element with tag and length, as a view. */
  get encoded(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#to);
  }

  /** The contents, as a view. */
  get contents(): Uint8Array {
    return this.#bytes.subarray(this.#from, this.#to);
  }

  /** A reader over the contents of a constructed element. */
  children(): DerReader {
    if ((this.tag & CONSTRUCTED) === 0) throw malformed('a primitive where a structure belongs');
    return new DerReader(this.#bytes, this.#from, this.#to);
  }

  boolean(): boolean {
    const [value, ...more] = this.contents;
    if (more.length > 0 || (value !== 0x00 && value !== 0xff)) throw malformed('a boolean that is neither 00 nor FF');
    return value === 0xff;
  }

  /** The bytes of an integer in its shortest two's complement form. */
  integer(): Uint8Array {
    const bytes = this.contents;
    const [first, second] = bytes;
    if (first === undefined) throw malformed('an empty integer');
    if (second !== undefined && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80)))
      throw malformed('an integer not in its shortest form');
    return bytes;
  }

  /** A non-negative integer below 2^31. */
  smallInteger(): number {
    const bytes = this.integer();
    const value = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
    if (bytes.length > 4 || (bytes[0] ?? 0) >= 0x80) throw malformed('an integer out of range');
    return value;
  }

  /** The dotted form of an object identifier. */
  oid(): string {
    const bytes = this.contents;
    if (bytes.length === 0 || bytes.length > MAX_OID_BYTES)
      throw malformed('an object identifier of no or too many bytes');
    const arcs: number[] = [];
    let arc = 0;
    let open = false;
    for (const byte of bytes) {
      if (!open && byte === 0x80) throw malformed('an object identifier with padding');
      arc = arc * 128 + (byte & 0x7f);
      if (arc > Number.MAX_SAFE_INTEGER) throw malformed('an object identifier out of range');
      open = byte >= 0x80;
      if (!open) {
        arcs.push(arc);
        arc = 0;
      }
    }
    if (open) throw malformed('an object identifier cut short');
    const [head = 0, ...rest] = arcs;
    const root = Math.min(Math.floor(head / 40), 2);
    return [root, head - 40 * root, ...rest].join('.');
  }

  /** The bytes of a bit string with a whole number of bytes (keys and signatures). */
  wholeBits(): Uint8Array {
    const [unused, ...rest] = this.contents.subarray(0, 2);
    if (unused !== 0 || rest.length === 0) throw malformed('a bit string that is empty or not of whole bytes');
    return this.contents.subarray(1);
  }

  /** The numbers of the bits that are set in a named bit list, which DER writes without trailing zeros (X.690 §11.2.2). */
  namedBits(): ReadonlySet<number> {
    const [unused, ...bytes] = this.contents;
    const last = bytes.at(-1) ?? 0;
    if (unused === undefined || unused > 7 || bytes.length > 4) throw malformed('not a list of named bits');
    if (bytes.length === 0 ? unused !== 0 : ((last >> unused) & 1) === 0)
      throw malformed('named bits with trailing zeros');
    if ((last & ((1 << unused) - 1)) !== 0) throw malformed('unused bits that are set');
    const set = new Set<number>();
    bytes.forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit += 1) if ((byte & (0x80 >> bit)) !== 0) set.add(at * 8 + bit);
    });
    return set;
  }

  /** The contents as ASCII. */
  ascii(): string {
    if (this.contents.some((byte) => byte === 0 || byte > 0x7e)) throw malformed('a byte outside ASCII');
    return Buffer.from(this.contents).toString('latin1');
  }
}

/** Tags of X.680 as they stand in the first byte. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** `[n]` in the context of its structure. */
export function contextTag(number: number, kind: 'primitive' | 'constructed'): number {
  return 0x80 | (kind === 'constructed' ? CONSTRUCTED : 0) | number;
}

/** The elements that stand one after another in `bytes`, e.g. the certificates of a bundle. */
export function concatenatedElements(bytes: Uint8Array, limit: number): readonly Uint8Array[] {
  const reader = new DerReader(bytes);
  const found: Uint8Array[] = [];
  while (!reader.atEnd) {
    if (found.length === limit) throw malformed(`more than ${limit} elements`);
    found.push(reader.expect(TAG.sequence).encoded);
  }
  return found;
}

const CONSTRUCTED = 0x20;
const MAX_LENGTH_BYTES = 3;
const MAX_OID_BYTES = 64;

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('SVID_MALFORMED', `DER: ${detail}`, { fields: { rule: 'strict-der' } });
}
