import { sleep, systemClock } from '../../src/base/clock.ts';
import { patient } from './patience.ts';

export interface EventuallyOptions {
  /** Default 30 s; never a measure of anything, only the end of patience. */
  readonly withinMs?: number;
  readonly everyMs?: number;
}

/**
 * Asks until the answer is neither undefined nor false, and gives it. Rejects when patience ends, with what was waited
 * for and the last error or answer. A check that throws has not come true yet.
 */
export async function eventually<T>(
  what: string,
  check: () => T | Promise<T>,
  { withinMs = 30_000, everyMs = 50 }: EventuallyOptions = {},
): Promise<Exclude<T, undefined | false>> {
  const end = systemClock.monotonic() + patient(withinMs);
  for (;;) {
    const asked = await Promise.resolve()
      .then(check)
      .then(
        (answer) => ({ answer, why: String(answer) }),
        (error: unknown) => ({ answer: undefined, why: error instanceof Error ? error.message : String(error) }),
      );
    if (isMet(asked.answer)) return asked.answer;
    if (systemClock.monotonic() > end)
      throw new Error(`not within ${patient(withinMs)} ms: ${what} (last: ${asked.why})`);
    await sleep(systemClock, everyMs);
  }
}

function isMet<T>(answer: T | undefined): answer is Exclude<T, undefined | false> {
  return answer !== undefined && answer !== false;
}
