/**
 * What passed a control connection, as evidence of level 1 has it: SHA-256 over the messages in their order, and the header of
 * each frame. Whoever has the connection's bytes finds both there.
 */
import { createHash } from 'node:crypto';
import { type Clock, sleep, type Timer } from '../base/clock.ts';
import type { Standing } from './access.ts';
import { PREFIX } from './frame.ts';

export interface Passed {
  readonly payloadHash: Uint8Array;
  /** The four bytes before each message; of the first `MOST_HEADERS`. */
  readonly frameHeaders: Uint8Array;
  /** So many messages. */
  readonly frames: number;
}

/** A record stays small, however much was watched: the number of frames says which bytes the hash is over. */
export const MOST_HEADERS = 1_024;

export function passed(frames: readonly Uint8Array[]): Passed {
  const hash = createHash('sha256');
  for (const frame of frames) hash.update(frame.subarray(PREFIX));
  const frameHeaders = Buffer.concat(frames.slice(0, MOST_HEADERS).map((frame) => frame.subarray(0, PREFIX)));
  return { payloadHash: hash.digest(), frameHeaders, frames: frames.length };
}

/**
 * What a console is told that watches. One record a minute, and one at its end: a flood of events makes no flood of
 * records.
 */
export class WatchedFrames implements Disposable {
  readonly #clock: Clock;
  readonly #tell: (passed: Passed) => void;
  #hash = createHash('sha256');
  #headers: Uint8Array[] = [];
  #frames = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, tell: (passed: Passed) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  add(frame: Uint8Array): void {
    this.#hash.update(frame.subarray(PREFIX));
    if (this.#frames < MOST_HEADERS) this.#headers.push(frame.subarray(0, PREFIX));
    this.#frames += 1;
    this.#timer ??= this.#clock.after(WATCH_RECORD_MS, () => this[Symbol.dispose]());
  }

  /** What there is so far is told; it may go on. */
  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#frames === 0) return;
    const told = {
      payloadHash: this.#hash.digest(),
      frameHeaders: Buffer.concat(this.#headers),
      frames: this.#frames,
    };
    this.#hash = createHash('sha256');
    this.#headers = [];
    this.#frames = 0;
    this.#tell(told);
  }
}

/**
 * Looks, of which each leaves a record at level 1, wait for their turn: whoever asks without end fills no disk. Owners do
 * not wait for observers, and nobody's orders wait at all.
 */
export class LookPace {
  readonly #clock: Clock;
  readonly #next = new Map<Standing, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async turn(standing: Standing): Promise<void> {
    const now = this.#clock.monotonic();
    const turn = Math.max(this.#next.get(standing) ?? 0, now - LOOKS_AT_ONCE * LOOK_MS);
    this.#next.set(standing, turn + LOOK_MS);
    if (turn > now) await sleep(this.#clock, turn - now);
  }
}

const WATCH_RECORD_MS = 60_000;
/** Five a second for long, and what a person's commands ask for at once. */
const LOOK_MS = 200;
const LOOKS_AT_ONCE = 50;
