/**
 * Ends that are anchored each by itself, some milliseconds of them in one turn of the event loop, and none while the node
 * is on its way to another level. Nobody waits for them, and a crash finds their intents; ten thousand sessions that a level
 * ends at once would else hold up the steps behind it, and the lease of the data plane, until the disk had synced ten
 * thousand times.
 */
import type { Clock, Timer } from '../base/clock.ts';

const SHARE_MS = 5;
/** What is behind a change does not wait for one that hangs, or for levels that come without end. */
const LONGEST_HOLD_MS = 5_000;
/** How often it is looked whether the change is through. */
const LOOK_MS = 5;

export class EndsInTurn<End> {
  readonly #clock: Pick<Clock, 'monotonic' | 'after'>;
  readonly #commit: (end: End) => void;
  readonly #isChanging: () => boolean;
  #waiting: End[] = [];
  /** Of those that wait, how many were taken. */
  #taken = 0;
  /** In this turn. */
  #spentMs = 0;
  /** Since when, by the monotonic clock, the change has held them up that is under way. */
  #heldSince: number | undefined;
  #nextTurn: Timer | undefined;

  /** @param commit must not throw */
  constructor(clock: Pick<Clock, 'monotonic' | 'after'>, commit: (end: End) => void, isChanging: () => boolean) {
    this.#clock = clock;
    this.#commit = commit;
    this.#isChanging = isChanging;
  }

  /** Commits it at once, or, during a change and when enough of this turn was spent, in its turn behind those that wait. */
  take(end: End): void {
    if (this.#waiting.length === 0 && this.#spentMs < SHARE_MS && !this.#isHeld()) return this.#take(end);
    this.#waiting.push(end);
    this.#await();
  }

  /** Commits all that wait, however long it takes. */
  flush(): void {
    this.#nextTurn?.cancel();
    this.#nextTurn = undefined;
    this.#spentMs = 0;
    const rest = this.#waiting.slice(this.#taken);
    this.#waiting = [];
    this.#taken = 0;
    for (const end of rest) this.#commit(end);
  }

  #isHeld(): boolean {
    if (!this.#isChanging()) this.#heldSince = undefined;
    else this.#heldSince ??= this.#clock.monotonic();
    return this.#heldSince !== undefined && this.#clock.monotonic() - this.#heldSince < LONGEST_HOLD_MS;
  }

  #take(end: End): void {
    const began = this.#clock.monotonic();
    this.#commit(end);
    this.#spentMs += this.#clock.monotonic() - began;
    if (this.#spentMs > 0) this.#await();
  }

  #await(): void {
    this.#nextTurn ??= this.#clock.after(this.#isHeld() ? LOOK_MS : 0, () => this.#turn());
  }

  #turn(): void {
    this.#nextTurn = undefined;
    this.#spentMs = 0;
    while (this.#taken < this.#waiting.length && this.#spentMs < SHARE_MS && !this.#isHeld()) {
      const end = this.#waiting[this.#taken];
      this.#taken += 1;
      if (end !== undefined) this.#take(end);
    }
    if (this.#taken < this.#waiting.length) return this.#await();
    this.#waiting = [];
    this.#taken = 0;
  }
}
