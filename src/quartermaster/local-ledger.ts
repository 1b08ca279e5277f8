/** The ledger of one process: its own store. What comes in during one turn of the loop shares one transaction and one sync. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { LogName, Submission } from '../../protocol/quartermaster/index.ts';
import { afterThisTurn, type Clock } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Ledger } from './ledger.ts';
import type { NewProposal, Store } from './store.ts';
import type { StoreReader } from './store-reader.ts';

interface Waiting {
  /** Inside the transaction; answers how it ended. */
  readonly put: () => () => void;
  readonly refuse: (error: unknown) => void;
}

export class LocalLedger implements Ledger {
  readonly #store: Store;
  readonly #clock: Pick<Clock, 'now'>;
  readonly arrivals = new Listeners<'arrived'>();
  #waiting: Waiting[] = [];

  /** @param clock of the days that retention counts */
  constructor(store: Store, clock: Pick<Clock, 'now'>) {
    this.#store = store;
    this.#clock = clock;
  }

  get reader(): StoreReader {
    return this.#store.reader;
  }

  async position(log: LogName): Promise<number> {
    return this.#store.next(log);
  }

  submit(submission: Submission): Promise<number> {
    return this.#join(() => {
      const unheld = this.#store.judge(submission);
      if (unheld !== undefined) this.#store.put(unheld, this.#clock.now());
      return this.#store.next(submission.log);
    });
  }

  propose(proposal: NewProposal): Promise<number> {
    return this.#join(() => this.#store.spend(proposal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#commit();
    this.arrivals.clear();
  }

  #join<T>(put: () => T): Promise<T> {
    return new Promise((keep, refuse) => {
      if (this.#waiting.length === 0) afterThisTurn(() => this.#commit());
      this.#waiting.push({
        put: () => {
          const result = put();
          return () => keep(result);
        },
        refuse,
      });
    });
  }

  #commit(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length === 0) return;
    const ends: (() => void)[] = [];
    try {
      this.#store.transact(() => {
        for (const { put, refuse } of batch) {
          try {
            ends.push(put());
          } catch (error) {
            // Refused before anything of it was written: the others of the batch go on.
            if (!isRefusal(error)) throw error;
            ends.push(() => refuse(error));
          }
        }
      });
    } catch (error) {
      for (const { refuse } of batch) refuse(error);
      return;
    }
    for (const end of ends) end();
    this.arrivals.tell('arrived');
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof ShellstreamError && error.reason !== 'EVIDENCE_FAILED';
}
