/** Keeps a store within its time: a little at once, so that nobody waits. */
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { PassedTime, type Uptime } from '../base/passed-time.ts';
import { dayOf, type Store } from './store.ts';

export interface RetentionParts {
  readonly store: Store;
  /** So long everything is kept. */
  readonly days: number;
  /** By which days are counted: not the wall clock alone, or who sets it ahead has all of it forgotten. */
  readonly passed: Pick<Clock, 'now'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Begins at once. */
export function keepWithin({ store, days, passed, clock, log }: RetentionParts): Disposable {
  let timer: Timer | undefined;
  const turn = (): void => {
    let gone = 0;
    try {
      const now = passed.now();
      gone = store.forgetBefore(dayOf(now) - days, AT_ONCE);
      store.forgetTokens(now - TOKEN_GRACE_MS);
    } catch (error) {
      log.error('what is out of its time could not be removed', { error });
    }
    timer = clock.after(gone === AT_ONCE ? NEXT_MS : PAUSE_MS, turn);
  };
  turn();
  return { [Symbol.dispose]: () => timer?.cancel() };
}

/** Time as this store saw it pass, kept in it; a clock that is days ahead of it is told. */
export function passedInStore(
  store: Store,
  clock: Clock,
  uptime: Uptime,
  log: Logger,
): Pick<Clock, 'now'> & Disposable {
  const time = new PassedTime(() => clock.now(), uptime, store.reader.passed());
  let timer: Timer | undefined;
  const keep = (): void => {
    try {
      store.keepPassed(time.mark);
    } catch (error) {
      log.error('the time that passed could not be kept', { error });
    }
    const days = Math.floor(time.aheadMs / DAY_MS);
    if (days > 0) log.warn('the clock is ahead of the time that passed: what is due by it is kept', { days });
    timer = clock.after(PAUSE_MS, keep);
  };
  keep();
  return { now: () => time.now(), [Symbol.dispose]: () => timer?.cancel() };
}

const AT_ONCE = 2_000;
const NEXT_MS = 50;
const PAUSE_MS = 600_000;
const DAY_MS = 86_400_000;
/** By so much clocks of replicas may differ. */
const TOKEN_GRACE_MS = 3_600_000;
