import type { PostureLevel } from '../../protocol/posture/index.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { PostureStep } from './plan.ts';

export interface StepRunnerParts {
  readonly clock: Clock;
  readonly log: Logger;
  /** A step that hung has done something after all. */
  readonly onWoken: () => void;
}

const DEADLINE_MS = 4_000;

/**
 * Takes steps, each within its deadline, and knows which could not be taken. One that hangs holds up nothing behind it;
 * what it does when it wakes may be of a level long gone, so it counts as not taken until it was taken again.
 */
export class StepRunner {
  readonly #parts: StepRunnerParts;
  readonly #unrealised = new Set<PostureStep>();
  readonly #woken = new Set<PostureStep>();

  constructor(parts: StepRunnerParts) {
    this.#parts = parts;
  }

  /** In the order in which they failed. */
  get unrealised(): readonly PostureStep[] {
    return [...this.#unrealised];
  }

  /** Of those: what woke late, and was not taken since. */
  get woken(): readonly PostureStep[] {
    return [...this.#woken];
  }

  /** Whether it was taken. Never throws. */
  async take(step: PostureStep, level: PostureLevel, epoch: bigint): Promise<boolean> {
    this.#woken.delete(step);
    const outcome = await this.#outcome(step, level, epoch);
    // Had an earlier try of it woken meanwhile, nobody knows which of the two was last.
    if (outcome === 'taken' && !this.#woken.has(step)) {
      this.#unrealised.delete(step);
      return true;
    }
    this.#unrealised.add(step);
    this.#parts.log.error('posture step failed', { step: step.name, level, error: outcome });
    return false;
  }

  async #outcome(step: PostureStep, level: PostureLevel, epoch: bigint): Promise<unknown> {
    try {
      const applied = step.apply(level, epoch);
      if (applied === undefined) return 'taken';
      const over = new AbortController();
      let isLate = false;
      const done = applied.then(
        () => 'taken',
        (error: unknown) => error,
      );
      void done.then(() => {
        over.abort();
        if (isLate) this.#wake(step);
      });
      const late = sleep(this.#parts.clock, step.deadlineMs ?? DEADLINE_MS, over.signal).then(() => {
        if (over.signal.aborted) return done;
        isLate = true;
        return new Error(`not done in ${step.deadlineMs ?? DEADLINE_MS} ms`);
      });
      return await Promise.race([done, late]);
    } catch (error) {
      return error;
    }
  }

  #wake(step: PostureStep): void {
    this.#unrealised.add(step);
    this.#woken.add(step);
    this.#parts.onWoken();
  }
}
