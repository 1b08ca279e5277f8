/** What streams carried, told to the enforcer every few seconds: what a terminator that is killed would take with it. */
import type { Clock, Timer } from '../base/clock.ts';
import type { Enforcer, SessionId, StreamTotals } from '../enforcer/ports.ts';

export interface TellCarriedParts {
  readonly clock: Clock;
  readonly enforcer: Pick<Enforcer, 'carried'>;
  readonly registry: { readonly all: readonly Carrying[] };
}

interface Carrying {
  readonly id: SessionId;
  readonly streams: { readonly totals: StreamTotals };
}

/** Of sessions in which something passed meanwhile, and of no others. */
export function tellCarried({ clock, enforcer, registry }: TellCarriedParts): Disposable {
  let told = new Map<SessionId, StreamTotals>();
  let timer: Timer = clock.after(PACE_MS, tell);
  return { [Symbol.dispose]: () => timer.cancel() };

  function tell(): void {
    timer = clock.after(PACE_MS, tell);
    const now = new Map(registry.all.map(({ id, streams }) => [id, streams.totals]));
    const news = new Map([...now].filter(([id, totals]) => hasMoved(totals, told.get(id))));
    told = now;
    if (news.size > 0) enforcer.carried?.(news);
  }
}

function hasMoved(totals: StreamTotals, before: StreamTotals | undefined): boolean {
  if (before === undefined) return totals.streams > 0;
  return (
    totals.streams !== before.streams ||
    totals.receivedBytes !== before.receivedBytes ||
    totals.sentBytes !== before.sentBytes
  );
}

/** At most this much is missing of a session whose terminator died. */
const PACE_MS = 5_000;
