import type { Clock, Timer } from '../../src/base/clock.ts';

/**
 * Calls `gone` once, when the process that started this one has ended. It is asked for and not waited for: the host's
 * standard input is not the plugin's to read, a broken pipe shows only to who writes, and a connection may close though
 * the host lives.
 */
export class HostWatch implements Disposable {
  readonly #clock: Clock;
  readonly #parentOf: () => number;
  readonly #gone: () => void;
  readonly #host: number;
  #timer: Timer | undefined;

  /** @param parentOf the parent's pid, as it is now: another one after the parent ended. */
  constructor(options: { clock: Clock; parentOf: () => number; gone: () => void }) {
    this.#clock = options.clock;
    this.#parentOf = options.parentOf;
    this.#gone = options.gone;
    this.#host = options.parentOf();
    this.#again();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #again(): void {
    this.#timer = this.#clock.after(INTERVAL_MS, () => {
      if (this.#parentOf() === this.#host) this.#again();
      else this.#gone();
    });
  }
}

const INTERVAL_MS = 500;
