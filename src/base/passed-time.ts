/**
 * Wall time as far as it was seen to pass, for what is given up when its time is over: who sets the clock a year ahead, by NTP
 * or by hand, must not have a year's records forgotten. It follows the wall clock, and runs ahead of the machine's own
 * uptime by a tenth at the most; so an honest clock that was behind, or a machine that was off, is caught up with in time.
 */
export interface Uptime {
  /** Another one after each boot; empty: not known. */
  readonly boot: string;
  /** Since the boot, or since any later moment; sleep counts if it can be known. */
  ms(): number;
}

/** What is kept over a restart. */
export interface PassedMark {
  readonly atMs: number;
  readonly boot: string;
  readonly uptimeMs: number;
}

export class PassedTime {
  readonly #wall: () => number;
  readonly #uptime: Uptime;
  #atMs: number;
  #uptimeMs: number;

  /** @param mark without one the clock is believed as it stands */
  constructor(wall: () => number, uptime: Uptime, mark?: PassedMark) {
    this.#wall = wall;
    this.#uptime = uptime;
    this.#atMs = mark?.atMs ?? wall();
    // Another boot began after the mark: all of its uptime has passed since.
    const isSameBoot = mark !== undefined && mark.boot === uptime.boot && uptime.boot !== '';
    this.#uptimeMs = isSameBoot ? mark.uptimeMs : mark === undefined ? uptime.ms() : 0;
  }

  /** Never ahead of the wall clock. */
  now(): number {
    const wall = this.#wall();
    const uptimeMs = this.#uptime.ms();
    const elapsed = Math.max(0, uptimeMs - this.#uptimeMs);
    this.#uptimeMs = Math.max(uptimeMs, this.#uptimeMs);
    this.#atMs = Math.max(this.#atMs, Math.min(wall, this.#atMs + elapsed * PACE));
    return Math.min(wall, this.#atMs);
  }

  /** By how much the clock is ahead of what was seen to pass. */
  get aheadMs(): number {
    return this.#wall() - this.now();
  }

  /** Somebody who knows says that the clock is right. */
  trust(): void {
    this.#atMs = this.#wall();
  }

  get mark(): PassedMark {
    this.now();
    return { atMs: this.#atMs, boot: this.#uptime.boot, uptimeMs: this.#uptimeMs };
  }
}

const PACE = 1.1;
