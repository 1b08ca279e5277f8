/** Keeps a store within its time: a little at once, so that nobody waits. */
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { dayOf, type Store } from './store.ts';

/** Begins at once. @param days so long everything is kept. */
export function keepWithin(store: Store, days: number, clock: Clock, log: Logger): Disposable {
  let timer: Timer | undefined;
  const turn = (): void => {
    let gone = 0;
    try {
      gone = store.forgetBefore(dayOf(clock.now()) - days, AT_ONCE);
      store.forgetTokens(clock.now() - TOKEN_GRACE_MS);
    } catch (error) {
      log.error('what is out of its time could not be removed', { error });
    }
    timer = clock.after(gone === AT_ONCE ? NEXT_MS : PAUSE_MS, turn);
  };
  turn();
  return { [Symbol.dispose]: () => timer?.cancel() };
}

const AT_ONCE = 2_000;
const NEXT_MS = 50;
const PAUSE_MS = 600_000;
/** By so much clocks of replicas may differ. */
const TOKEN_GRACE_MS = 3_600_000;
