/** Who watches what arrives. Each reads from the store at its own pace: nothing waits in memory for a slow one. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Wanted } from '../../protocol/quartermaster/index.ts';
import type { Ledger } from './ledger.ts';
import type { StoredRecord } from './store-reader.ts';

export class Watches implements Disposable {
  readonly #ledger: Ledger;
  readonly #ended = new AbortController();
  /** How many each reader has. */
  readonly #held = new Map<string, number>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /**
   * @param reader by the name that the connection proved
   * @param after undefined: from now on
   * @returns to be begun: its place is free again when it ends
   * @throws ShellstreamError OVERLOADED: one reader must not take every place
   */
  watch(reader: string, wanted: Wanted, after: number | undefined, signal: AbortSignal): AsyncGenerator<StoredRecord> {
    const from = after ?? this.#ledger.reader.lastNumber();
    const ended = AbortSignal.any([signal, this.#ended.signal]);
    this.#take(reader);
    return this.#records(reader, wanted, from, ended);
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
  }

  async *#records(reader: string, wanted: Wanted, after: number, signal: AbortSignal): AsyncGenerator<StoredRecord> {
    let last = after;
    try {
      while (!signal.aborted) {
        using news = this.#news(signal);
        const page = this.#ledger.reader.since(wanted, last, PAGE);
        const isAll = page.last === last;
        last = page.last;
        yield* page.found;
        if (isAll) await news.arrived;
      }
    } finally {
      this.#giveBack(reader);
    }
  }

  #take(reader: string): void {
    const own = this.#held.get(reader) ?? 0;
    if (own >= MOST_OF_ONE) throw new ShellstreamError('OVERLOADED', `${reader} watches ${own} times already`);
    const all = [...this.#held.values()].reduce((sum, count) => sum + count, 0);
    if (all >= MOST_WATCHES) throw new ShellstreamError('OVERLOADED', 'too many watch already');
    this.#held.set(reader, own + 1);
  }

  #giveBack(reader: string): void {
    const left = (this.#held.get(reader) ?? 1) - 1;
    if (left > 0) this.#held.set(reader, left);
    else this.#held.delete(reader);
  }

  /** Listens before the store is read: what arrives in between is not missed. */
  #news(signal: AbortSignal): Disposable & { readonly arrived: Promise<void> } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    const listening = this.#ledger.arrivals.add(wake);
    signal.addEventListener('abort', wake);
    if (signal.aborted) resolve();
    return {
      arrived: promise,
      [Symbol.dispose]() {
        listening[Symbol.dispose]();
        signal.removeEventListener('abort', wake);
      },
    };
  }
}

const MOST_OF_ONE = 8;
const MOST_WATCHES = 64;
const PAGE = 64;
