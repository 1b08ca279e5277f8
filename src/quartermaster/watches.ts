/** Who watches what arrives. Each reads from the store at its own pace: nothing waits in memory for a slow one. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Wanted } from '../../protocol/quartermaster/index.ts';
import type { Ledger } from './ledger.ts';
import type { StoredRecord } from './store-reader.ts';

export class Watches implements Disposable {
  readonly #ledger: Ledger;
  readonly #ended = new AbortController();
  #count = 0;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** @param after undefined: from now on. @throws ShellstreamError OVERLOADED */
  watch(wanted: Wanted, after: number | undefined, signal: AbortSignal): AsyncGenerator<StoredRecord> {
    if (this.#count >= MOST_WATCHES) throw new ShellstreamError('OVERLOADED', 'too many watch already');
    return this.#records(
      wanted,
      after ?? this.#ledger.reader.lastNumber(),
      AbortSignal.any([signal, this.#ended.signal]),
    );
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
  }

  async *#records(wanted: Wanted, after: number, signal: AbortSignal): AsyncGenerator<StoredRecord> {
    let last = after;
    this.#count += 1;
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
      this.#count -= 1;
    }
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

const MOST_WATCHES = 64;
const PAGE = 64;
