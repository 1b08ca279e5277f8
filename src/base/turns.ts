/** So many at once, and the others in the order in which they came. */
export class Turns {
  #free: number;
  /** In order of arrival. */
  readonly #waiting = new Set<() => void>();

  constructor(most: number) {
    this.#free = most;
  }

  /** Runs `action` when it is its turn. Rejects, without having run it, with the signal's reason when that aborts first. */
  async take<T>(action: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#inLine(signal);
    try {
      return await action();
    } finally {
      this.#next();
    }
  }

  /** Whoever comes out of the line has the place of the one that made room. */
  #inLine(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(enter);
        reject(signal.reason);
      };
      this.#waiting.add(enter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #next(): void {
    const [enter] = this.#waiting;
    if (enter === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(enter);
    enter();
  }
}
