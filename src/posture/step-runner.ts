import type { PostureLevel } from '../../protocol/posture/index.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { PostureStep } from './plan.ts';

const DEADLINE_MS = 4_000;

/**
 * Takes steps, each within its deadline, and knows which could not be taken. One that hangs holds up nothing behind it;
 * what it does when it wakes may be of a level long gone, so it counts as not taken until it was taken again.
 */
export class StepRunner {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #unrealised = new Set<PostureStep>();

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** In the order in which they failed. */
  get unrealised(): readonly PostureStep[] {
    return [...this.#unrealised];
  }

  /** Whether it was taken. Never throws. */
  async take(step: PostureStep, level: PostureLevel, epoch: bigint): Promise<boolean> {
    const outcome = await this.#outcome(step, level, epoch);
    if (outcome === 'taken') {
      this.#unrealised.delete(step);
      return true;
    }
    this.#unrealised.add(step);
    this.#log.error('posture step failed', { step: step.name, level, error: outcome });
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
        if (isLate) this.#unrealised.add(step);
      });
      const late = sleep(this.#clock, step.deadlineMs ?? DEADLINE_MS, over.signal).then(() => {
        if (over.signal.aborted) return done;
        isLate = true;
        return new Error(`not done in ${step.deadlineMs ?? DEADLINE_MS} ms`);
      });
      return await Promise.race([done, late]);
    } catch (error) {
      return error;
    }
  }
}
