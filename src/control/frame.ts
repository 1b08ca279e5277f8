/**
 * Length-prefixed messages on the control socket: four bytes, big endian, then the message.
 * Pure: bytes in, messages out; `server.ts` and `client.ts` own the sockets.
 */
import { ShellstreamError } from '../../protocol/errors.ts';

/** A request that names a session and a reason is far smaller; what is larger is not ours. */
export const LARGEST_REQUEST = 64 * 1024;
export const LARGEST_RESPONSE = 1024 * 1024;

/** Bytes before each message: its length. */
export const PREFIX = 4;

export class FrameReader {
  readonly #limit: number;
  #pending: Buffer = Buffer.alloc(0);

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes bytes as they come. The caller stops reading while a message waits, so that at most one read piles up here. */
  push(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
  }

  /**
   * The next whole message, or undefined until more bytes come. A length above the limit is MALFORMED as soon as its
   * prefix is there: nobody makes us wait for, or hold, a gigabyte.
   */
  next(): Uint8Array | undefined {
    if (this.#pending.length < PREFIX) return undefined;
    const length = this.#pending.readUInt32BE(0);
    if (length > this.#limit) {
      throw new ShellstreamError('MALFORMED', `a message of ${length} bytes, where at most ${this.#limit} are taken`);
    }
    if (this.#pending.length < PREFIX + length) return undefined;
    const message = new Uint8Array(this.#pending.subarray(PREFIX, PREFIX + length));
    this.#pending = this.#pending.subarray(PREFIX + length);
    return message;
  }

  /** Whether bytes of an unfinished message are held. */
  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }
}

export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX + message.length);
  framed.writeUInt32BE(message.length, 0);
  framed.set(message, PREFIX);
  return framed;
}
