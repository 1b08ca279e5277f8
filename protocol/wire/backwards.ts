/** Messages on their way into a block of memory, each from its last byte to its first. */
import { ShellstreamError } from '../errors.ts';

/** A message that is longer gets a block of its own. */
const BLOCK_BYTES = 16_384;
const SHORT_TEXT = 128;
const UTF8 = new TextEncoder();
const LARGEST_UINT64 = 2n ** 64n - 1n;

export class Backwards {
  #block = new Uint8Array(BLOCK_BYTES);
  /** Behind the message. */
  #end = BLOCK_BYTES;
  /** Its first byte so far. */
  #at = BLOCK_BYTES;

  /** How much of the message is written. */
  get size(): number {
    return this.#end - this.#at;
  }

  /** A copy of the message, of which nothing stays here: some hold secrets of their session. */
  moved(): Uint8Array {
    const message = this.#block.slice(this.#at, this.#end);
    this.discard();
    if (this.#block.length > BLOCK_BYTES) this.#begin(new Uint8Array(BLOCK_BYTES));
    return message;
  }

  /** The message itself. The next one is written before it, and it keeps its block in memory. */
  view(): Uint8Array {
    const message = this.#block.subarray(this.#at, this.#end);
    this.#end = this.#at;
    return message;
  }

  /** Forgets what is written of the message. */
  discard(): void {
    this.#block.fill(0, this.#at, this.#end);
    this.#at = this.#end;
  }

  bytes(content: Uint8Array): void {
    this.#claim(content.length);
    this.#block.set(content, this.#at);
  }

  /** Returns how many bytes it is in UTF-8; half of a pair alone is U+FFFD. */
  text(text: string): number {
    const { length } = text;
    if (length <= SHORT_TEXT && this.#ascii(text)) return length;
    const content = UTF8.encode(text);
    this.bytes(content);
    return content.length;
  }

  /** A number from 0 to 2^53 - 1. */
  varint(value: number): void {
    if (value < 0x80) {
      this.#claim(1);
      this.#block[this.#at] = value;
      return;
    }
    let size = 2;
    for (let rest = value; rest >= 0x4000; rest = Math.floor(rest / 0x80)) size += 1;
    this.#claim(size);
    let at = this.#at;
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#block[at++] = (rest % 0x80) + 0x80;
    this.#block[at] = rest;
  }

  bigVarint(value: bigint): void {
    const number = Number(value);
    if (Number.isSafeInteger(number) && number >= 0) return this.varint(number);
    if (value < 0n || value > LARGEST_UINT64) throw new ShellstreamError('INTERNAL', `no 64-bit number: ${value}`);
    const bytes: number[] = [];
    let rest = value;
    for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) + 0x80);
    this.bytes(Uint8Array.of(...bytes, Number(rest)));
  }

  /** False, and nothing written, when it is not ASCII. Fewer letters than it takes to call an encoder. */
  #ascii(text: string): boolean {
    const { length } = text;
    this.#claim(length);
    const block = this.#block;
    const start = this.#at;
    for (let i = 0; i < length; i += 1) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) {
        this.#at = start + length;
        return false;
      }
      block[start + i] = code;
    }
    return true;
  }

  #claim(count: number): void {
    if (this.#at < count) this.#grow(count);
    this.#at -= count;
  }

  #grow(count: number): void {
    const written = this.#block.slice(this.#at, this.#end);
    this.discard();
    this.#begin(new Uint8Array(Math.max(BLOCK_BYTES, 2 * (written.length + count))));
    this.bytes(written);
  }

  #begin(block: Uint8Array<ArrayBuffer>): void {
    this.#block = block;
    this.#end = block.length;
    this.#at = block.length;
  }
}
