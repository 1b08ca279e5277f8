/** Record and journal as the engine uses them: a disk that fails, or does not answer, holds nothing up, and is told. */
import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { JournalRecord, PostureJournal } from './journal.ts';
import type { KeptPosture } from './kept.ts';
import type { PostureStore } from './store.ts';

export interface KeeperParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: PostureStore;
  /** Absent where a crash leaves nothing that could be gone on with. */
  readonly journal?: PostureJournal | undefined;
}

/** A disk that does not answer holds a tightening up no longer than this. */
const JOURNAL_MS = 100;

type Kind = 'record' | 'journal';

export class Keeper {
  readonly #parts: KeeperParts;
  readonly #failing = new Map<Kind, string>();
  /** Of the journal: they are in memory until they are written. */
  #unwritten = 0;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** What a restart would not know, and why, one sentence each. */
  get problems(): readonly string[] {
    return [...this.#failing].map(
      ([kind, why]) => `the ${kind} of the posture cannot be written (${why}): a restart may not know what was said`,
    );
  }

  /** Resolves when it is durable, or could not be made so. */
  async save(posture: KeptPosture): Promise<void> {
    await this.#tell('record', this.#parts.store.save(posture));
  }

  /** Resolves when it is written, or the disk failed, or did not answer in time. */
  async write(record: JournalRecord): Promise<void> {
    const { journal, clock } = this.#parts;
    if (journal === undefined) return;
    // Of a disk that hangs: what a step came to is of no use to the next run.
    if (record.kind === 'step' && this.#unwritten >= MAX_UNWRITTEN) return;
    this.#unwritten += 1;
    const over = new AbortController();
    const written = this.#tell('journal', journal.write(record)).then(() => {
      this.#unwritten -= 1;
      over.abort();
    });
    const late = sleep(clock, JOURNAL_MS, over.signal).then(() => {
      if (!over.signal.aborted) this.#fail('journal', `no answer in ${JOURNAL_MS} ms`);
    });
    await Promise.race([written, late]);
  }

  async #tell(kind: Kind, done: Promise<void>): Promise<void> {
    try {
      await done;
      this.#failing.delete(kind);
    } catch (error) {
      this.#fail(kind, error instanceof Error ? error.message : String(error));
    }
  }

  #fail(kind: Kind, why: string): void {
    this.#failing.set(kind, why);
    this.#parts.log.error(`the ${kind} of the posture cannot be written: a restart may not know what was said`, {
      why,
    });
  }
}

const MAX_UNWRITTEN = 64;
