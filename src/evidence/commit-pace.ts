/** How long commits take: each handshake waits for one, on the thread that also renews the data plane's lease. */
import type { Clock } from '../base/clock.ts';

export class CommitPace {
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** Of this half minute and of the one before. */
  #slowest: readonly [number, number] = [0, 0];
  #from: number;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
    this.#from = clock.monotonic();
  }

  time<T>(commit: () => T): T {
    const began = this.#clock.monotonic();
    try {
      return commit();
    } finally {
      this.#turn();
      const [slowest, before] = this.#slowest;
      this.#slowest = [Math.max(slowest, this.#clock.monotonic() - began), before];
    }
  }

  /** Of the last half minute at least, and of the last minute at the most. */
  get slowestMs(): number {
    this.#turn();
    return Math.round(Math.max(...this.#slowest));
  }

  #turn(): void {
    const passed = this.#clock.monotonic() - this.#from;
    if (passed < HALF_MS) return;
    this.#from += passed;
    this.#slowest = [0, passed < 2 * HALF_MS ? this.#slowest[0] : 0];
  }
}

const HALF_MS = 30_000;
