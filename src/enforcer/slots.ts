import { ShellstreamError } from '../../protocol/errors.ts';

/**
 * Numbers of array maps, handed out lowest first. A slot that comes back gets a higher generation at its next use,
 * so an entry that a former holder left behind never matches the new one.
 */
export class Slots {
  readonly #size: number;
  readonly #free: number[] = [];
  readonly #generations: number[] = [];
  #next: number;

  /** Slots `first` to `size - 1`. */
  constructor(options: { readonly first: number; readonly size: number }) {
    this.#next = options.first;
    this.#size = options.size;
  }

  /** Throws SESSION_LIMIT when none is left. */
  take(): { readonly slot: number; readonly generation: number } {
    const slot = this.#free.pop() ?? this.#next++;
    if (slot >= this.#size) {
      this.#next = this.#size;
      throw new ShellstreamError('SESSION_LIMIT', 'no slot left in the flow maps');
    }
    return { slot, generation: this.nextGeneration(slot) };
  }

  /**
   * Takes a slot that a holder has from before, with its generation; the next one is higher.
   * @throws ShellstreamError SESSION_LIMIT when there is no such slot, or somebody has it
   */
  claim(slot: number, generation: number): void {
    if (slot >= this.#next && slot < this.#size) {
      for (; this.#next < slot; this.#next++) this.#free.push(this.#next);
      this.#next = slot + 1;
    } else {
      const at = this.#free.indexOf(slot);
      if (at < 0) throw new ShellstreamError('SESSION_LIMIT', `slot ${slot} is not free`);
      this.#free.splice(at, 1);
    }
    this.#generations[slot] = generation;
  }

  /** For a holder whose flows change in place. */
  nextGeneration(slot: number): number {
    const generation = ((this.#generations[slot] ?? 0) + 1) >>> 0;
    this.#generations[slot] = generation;
    return generation;
  }

  giveBack(slot: number): void {
    this.#free.push(slot);
  }
}
