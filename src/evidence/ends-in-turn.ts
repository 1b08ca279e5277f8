/**
 * Ends that are anchored each by itself, some milliseconds of them in one turn of the event loop. Nobody waits for them, and
 * a crash finds their intents; ten thousand sessions that a level ends at once would else hold up the steps behind it, and
 * the lease of the data plane, until the disk had synced ten thousand times.
 */
import type { Clock, Timer } from '../base/clock.ts';

const SHARE_MS = 5;

export class EndsInTurn<End> {
  readonly #clock: Pick<Clock, 'monotonic' | 'after'>;
  readonly #commit: (end: End) => void;
  #waiting: End[] = [];
  /** In this turn. */
  #spentMs = 0;
  #nextTurn: Timer | undefined;

  /** @param commit must not throw */
  constructor(clock: Pick<Clock, 'monotonic' | 'after'>, commit: (end: End) => void) {
    this.#clock = clock;
    this.#commit = commit;
  }

  /** Commits it at once, or, when enough of this turn was spent, in its turn behind those that wait. */
  take(end: End): void {
    if (this.#waiting.length === 0 && this.#spentMs < SHARE_MS) this.#take(end);
    else this.#waiting.push(end);
  }

  /** Commits all that wait, however long it takes. */
  flush(): void {
    this.#nextTurn?.cancel();
    this.#nextTurn = undefined;
    this.#spentMs = 0;
    const rest = this.#waiting;
    this.#waiting = [];
    for (const end of rest) this.#commit(end);
  }

  #take(end: End): void {
    const began = this.#clock.monotonic();
    this.#commit(end);
    this.#spentMs += this.#clock.monotonic() - began;
    if (this.#spentMs > 0) this.#nextTurn ??= this.#clock.after(0, () => this.#turn());
  }

  #turn(): void {
    this.#nextTurn = undefined;
    this.#spentMs = 0;
    let taken = 0;
    for (const end of this.#waiting) {
      if (this.#spentMs >= SHARE_MS) break;
      taken += 1;
      this.#take(end);
    }
    this.#waiting = this.#waiting.slice(taken);
  }
}
