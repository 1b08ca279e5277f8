import { type Clock, systemClock, type Timer } from './clock.ts';

/**
 * A clock that stands still until it is moved. Timers that fall due on the way are called in their order, each at its
 * own time, and what they set off is let come to rest before the next one: so a test of minutes takes milliseconds and
 * runs the same way every time. Shipped, for tests of whatever takes a `Clock`.
 */
export class SimulatedClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #timers: Scheduled[] = [];
  #lastOrder = 0;
  readonly #rest: () => Promise<void>;

  /**
   * @param wall milliseconds since the epoch at the start; a whole second unless told.
   * @param settled resolves when what a timer set off has come to rest
   */
  constructor(wall: number = Date.UTC(2026, 0, 1), settled: () => Promise<void> = rest) {
    this.#wall = wall;
    this.#rest = settled;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(delayMs: number, action: () => void): Timer {
    this.#lastOrder += 1;
    const scheduled: Scheduled = { due: this.#monotonic + Math.max(delayMs, 0), order: this.#lastOrder, action };
    this.#timers.push(scheduled);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== scheduled);
      },
    };
  }

  /** How long each pending timer still waits, milliseconds, soonest first. */
  get pending(): readonly number[] {
    return this.#timers.map(({ due }) => due - this.#monotonic).sort((a, b) => a - b);
  }

  /** Sets the wall clock, as an operator or NTP does; timers do not notice. */
  setWall(now: number): void {
    this.#wall = now;
  }

  /** Moves time. Resolves when what fell due has come to rest, as far as `rest` can tell. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    // What is under way may be about to set a timer.
    await this.#rest();
    for (let next = this.#take(end); next !== undefined; next = this.#take(end)) {
      this.#moveTo(Math.max(next.due, this.#monotonic));
      next.action();
      await this.#rest();
    }
    this.#moveTo(end);
    await this.#rest();
  }

  #take(end: number): Scheduled | undefined {
    const next = this.#timers
      .filter(({ due }) => due <= end)
      .reduce<Scheduled | undefined>((first, timer) => (isSooner(timer, first) ? timer : first), undefined);
    this.#timers = this.#timers.filter((timer) => timer !== next);
    return next;
  }

  #moveTo(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}

/** Lets every promise that waits for nothing but other promises settle. What waits for a socket or a thread may not. */
export async function rest(): Promise<void> {
  await new Promise<void>((resolve) => systemClock.after(0, resolve));
}

interface Scheduled {
  readonly due: number;
  readonly order: number;
  readonly action: () => void;
}

function isSooner(timer: Scheduled, than: Scheduled | undefined): boolean {
  return than === undefined || timer.due < than.due || (timer.due === than.due && timer.order < than.order);
}
