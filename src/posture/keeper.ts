/** Record and journal as the engine uses them: a disk that fails, or does not answer, holds nothing up, and is told. */
import { type Clock, inTime, type Timer } from '../base/clock.ts';
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
/** And whoever says something no longer than this: sources that wait for ever are not heard any more. */
const RECORD_MS = 2_000;
const RETRY_MS = 10_000;
const MAX_UNWRITTEN = 64;

type Kind = 'record' | 'journal';

interface Failure {
  readonly why: string;
  /** Absent where it is under way still. */
  readonly again?: (() => Promise<void>) | undefined;
}

export class Keeper implements Disposable {
  readonly #parts: KeeperParts;
  readonly #failing = new Map<Kind, Failure>();
  /** What was asked for last: nothing older is tried again behind it. */
  readonly #latest: { record?: KeptPosture; journal?: JournalRecord } = {};
  /** Of the journal: they are in memory until they are written. */
  #unwritten = 0;
  #retry: Timer | undefined;
  #isOver = false;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** What a restart would not know, and why, one sentence each. */
  get problems(): readonly string[] {
    return [...this.#failing].map(
      ([kind, { why }]) =>
        `the ${kind} of the posture cannot be written (${why}): a restart may not know what was said`,
    );
  }

  /**
   * Resolves when it is durable, or could not be made so, or the disk did not answer in time. What failed is tried again,
   * until something later is durable.
   */
  async save(posture: KeptPosture): Promise<void> {
    this.#latest.record = posture;
    const saved = this.#tell('record', this.#parts.store.save(posture), () => this.save(posture));
    await this.#inTime('record', saved, RECORD_MS);
  }

  /** Resolves when it is written, or the disk failed, or did not answer in time. */
  async write(record: JournalRecord): Promise<void> {
    const { journal } = this.#parts;
    if (journal === undefined) return;
    // Of a disk that hangs: what a step came to is of no use to the next run.
    if (record.kind === 'step' && this.#unwritten >= MAX_UNWRITTEN) return;
    this.#unwritten += 1;
    this.#latest.journal = record;
    const written = this.#tell('journal', journal.write(record), () => this.write(record)).then(() => {
      this.#unwritten -= 1;
    });
    await this.#inTime('journal', written, JOURNAL_MS);
  }

  /** Nothing is tried again. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#retry?.cancel();
  }

  /** Resolves with `done`, which must not reject, or after so long, and tells that it was late. */
  async #inTime(kind: Kind, done: Promise<void>, limitMs: number): Promise<void> {
    const late = (): Error => new Error(`no answer in ${limitMs} ms`);
    await inTime(this.#parts.clock, done, limitMs, late).catch(({ message }: Error) =>
      this.#fail(kind, { why: message }),
    );
  }

  async #tell(kind: Kind, done: Promise<void>, again: () => Promise<void>): Promise<void> {
    const asked = this.#latest[kind];
    const unlessLater = async (): Promise<void> => {
      if (this.#latest[kind] === asked) await again();
    };
    try {
      await done;
      this.#failing.delete(kind);
    } catch (error) {
      this.#fail(kind, { why: error instanceof Error ? error.message : String(error), again: unlessLater });
    }
  }

  #fail(kind: Kind, failure: Failure): void {
    const { log, clock } = this.#parts;
    this.#failing.set(kind, failure);
    log.error(`the ${kind} of the posture cannot be written: a restart may not know what was said`, {
      why: failure.why,
    });
    if (this.#isOver) return;
    this.#retry ??= clock.after(RETRY_MS, () => {
      this.#retry = undefined;
      for (const { again } of [...this.#failing.values()]) void again?.();
    });
  }
}
