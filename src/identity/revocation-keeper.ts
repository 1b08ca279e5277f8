/**
 * Waits of a revocation for its disk and its effects, bounded by the clock: a disk that hangs is one that fails. What was
 * taken is in effect by then, and what could not be written is written once the disk goes on.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, inTime } from '../base/clock.ts';
import type { KeptRevocations, OpenedRevocations } from './revocation-store.ts';

/** For a disk, and for what a statement takes away. */
export const PATIENCE_MS = 10_000;

export class RecordKeeper {
  readonly #opened: OpenedRevocations;
  readonly #kept: () => KeptRevocations;
  readonly #clock: Clock;
  #problem: string | undefined;
  #isHanging = false;
  /** Something came while the disk hung, and may not be in any write that is under way. */
  #isMissed = false;

  constructor(opened: OpenedRevocations, kept: () => KeptRevocations, clock: Clock) {
    this.#opened = opened;
    this.#kept = kept;
    this.#clock = clock;
    this.#problem = opened.problem;
  }

  /** Why the record on disk may not be all that there is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Until something is written. */
  lacks(problem: string): void {
    this.#problem = problem;
  }

  /** Resolves when it is durable; settles in bounded time. */
  async save(): Promise<void> {
    // The damaged record is all that there is: nothing is written over it until somebody has moved it away.
    const { problem, store } = this.#opened;
    if (problem !== undefined) throw new ShellstreamError('INTERNAL', `in effect, but not kept: ${problem}`);
    if (this.#isHanging) {
      // The next would wait as long, and be held here for as long as the disk hangs.
      this.#isMissed = true;
      throw notKept(HANGS);
    }
    const written = store.save(this.#kept).then(
      () => this.#answered(undefined),
      (cause: unknown) => {
        this.#answered(cause instanceof Error ? cause.message : String(cause));
        throw notKept(cause);
      },
    );
    await inTime(this.#clock, written, PATIENCE_MS, () => {
      this.#isHanging = true;
      this.#problem = HANGS;
      return notKept(HANGS);
    });
  }

  #answered(problem: string | undefined): void {
    this.#problem = problem;
    this.#isHanging = false;
    if (!this.#isMissed) return;
    this.#isMissed = false;
    // Whoever brought it has heard that it is not kept; how this ends is told by `problem`.
    this.save().catch(() => undefined);
  }
}

const HANGS = 'the disk hangs';

function notKept(cause: unknown): ShellstreamError {
  return new ShellstreamError('INTERNAL', 'a revocation is in effect but could not be kept', { cause });
}
