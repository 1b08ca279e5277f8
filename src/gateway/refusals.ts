import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';

const TOLD_EVERY_MS = 1_000;

/** Connections that were turned away, told by reason and number once a second: a flood must not become one of log lines. */
export class Refusals implements Disposable {
  readonly #clock: Clock;
  readonly #tell: (reason: Reason, count: number) => void;
  readonly #counts = new Map<Reason, number>();
  #timer: Timer | undefined;

  constructor(clock: Clock, tell: (reason: Reason, count: number) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  add(reason: Reason): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
    this.#timer ??= this.#clock.after(TOLD_EVERY_MS, () => this.#flush());
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #flush(): void {
    this.#timer = undefined;
    const counts = [...this.#counts];
    this.#counts.clear();
    for (const [reason, count] of counts) this.#tell(reason, count);
  }
}
