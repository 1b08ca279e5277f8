/**
 * Ends of sessions, some milliseconds of them in one turn of the event loop, and none while the node is on its way to another
 * level, or the log is opened anew. At 2 and 1 each is anchored by itself; nobody waits for them, and a crash finds their
 * intents. Ten thousand sessions that a level ends at once would else hold up the steps behind it, and the lease of the data
 * plane, until the disk had synced ten thousand times.
 */
import type { Clock, Timer } from '../base/clock.ts';

const SHARE_MS = 5;
/** What is behind a change does not wait for one that hangs. One that begins later holds anew. */
const LONGEST_HOLD_MS = 5_000;
/** How often it is looked whether the change is through. */
const LOOK_MS = 5;

export interface Holds {
  /** Monotonic: since when the level changes; undefined: it does not. */
  readonly changingSinceMs: () => number | undefined;
  /** What is committed now would wait all the same, and then come at once. */
  readonly isReopening: () => boolean;
}

export class EndsInTurn<End> {
  readonly #clock: Pick<Clock, 'monotonic' | 'after'>;
  readonly #commit: (end: End) => void;
  readonly #holds: Holds;
  #isClosed = false;
  #waiting: End[] = [];
  /** Of those that wait, how many were taken. */
  #taken = 0;
  /** In this turn. */
  #spentMs = 0;
  #nextTurn: Timer | undefined;

  /** @param commit must not throw */
  constructor(clock: Pick<Clock, 'monotonic' | 'after'>, commit: (end: End) => void, holds: Holds) {
    this.#clock = clock;
    this.#commit = commit;
    this.#holds = holds;
  }

  /** Commits it at once, or, while they are held and when enough of this turn was spent, in its turn behind those that wait. */
  take(end: End): void {
    if (this.#isClosed) return this.#commit(end);
    if (this.#waiting.length === 0 && this.#spentMs < SHARE_MS && !this.#isHeld()) return this.#take(end);
    this.#waiting.push(end);
    this.#await();
  }

  /** Commits all that wait, however long it takes, and from here on each at once. */
  close(): void {
    this.#isClosed = true;
    this.#nextTurn?.cancel();
    this.#nextTurn = undefined;
    this.#spentMs = 0;
    const rest = this.#waiting.slice(this.#taken);
    this.#waiting = [];
    this.#taken = 0;
    for (const end of rest) this.#commit(end);
  }

  #isHeld(): boolean {
    if (this.#holds.isReopening()) return true;
    const sinceMs = this.#holds.changingSinceMs();
    return sinceMs !== undefined && this.#clock.monotonic() - sinceMs < LONGEST_HOLD_MS;
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
    // Moved up where that is no more work than what was taken.
    if (this.#taken * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#taken);
      this.#taken = 0;
    }
    if (this.#waiting.length > 0) this.#await();
  }
}
