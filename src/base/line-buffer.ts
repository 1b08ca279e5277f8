import type { Clock, Timer } from './clock.ts';

/** How long a line may wait for others, and how much may wait. */
const LONGEST_WAIT_MS = 20;
const MOST_CHARACTERS = 65_536;

/** Takes whole lines and hands them on together: one write for many sessions instead of two for each. */
export class LineBuffer {
  readonly #clock: Clock;
  readonly #write: (lines: string) => void;
  #lines = '';
  #timer: Timer | undefined;

  constructor(clock: Clock, write: (lines: string) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  write(line: string): void {
    this.#lines += line;
    if (this.#lines.length > MOST_CHARACTERS) this.flush();
    else this.#timer ??= this.#clock.after(LONGEST_WAIT_MS, () => this.flush());
  }

  /** Everything that waits, now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = '';
    if (lines !== '') this.#write(lines);
  }
}
