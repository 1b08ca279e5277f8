/**
 * Room on the disk that nobody else can take: a file of zeroes, given up when the disk is full and evidence must be written
 * that may not be refused. The console of a full appliance still works, and leaves its trace.
 */
import { closeSync, fsyncSync, openSync, rmSync, statSync, writeSync } from 'node:fs';

export class Ballast {
  readonly #path: string;
  readonly #bytes: number;

  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  /** Whether it is there in full. */
  get isHeld(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) === this.#bytes;
  }

  /** Takes the room, if there is some; false when the disk is too full. Written, not merely sized: a hole holds no room. */
  take(): boolean {
    if (this.isHeld) return true;
    const file = openSync(this.#path, 'w', 0o600);
    try {
      const block = new Uint8Array(BLOCK_BYTES);
      for (let at = 0; at < this.#bytes; at += BLOCK_BYTES) {
        const length = Math.min(BLOCK_BYTES, this.#bytes - at);
        if (writeSync(file, block, 0, length) < length) throw new Error('short write');
      }
      fsyncSync(file);
      return true;
    } catch {
      rmSync(this.#path, { force: true });
      return false;
    } finally {
      closeSync(file);
    }
  }

  /** False when there was nothing to give up. */
  release(): boolean {
    if (statSync(this.#path, { throwIfNoEntry: false }) === undefined) return false;
    rmSync(this.#path);
    return true;
  }
}

const BLOCK_BYTES = 65_536;
