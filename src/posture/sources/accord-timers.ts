/**
 * The accord's timers as sources of posture. A window that is open is said once, until its end. It is never taken back
 * before: a host clock that jumps past the end loosens nothing, and one that jumps into a window tightens.
 */
import { type AccordTimer, type PostureLevel, windowEnd } from '../../../protocol/posture/index.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import type { StatedSource } from '../engine.ts';

export interface TimerParts {
  readonly clock: Clock;
  readonly timers: readonly AccordTimer[];
  /** What is said already, by this run or a former one. */
  sources(): readonly StatedSource[];
  state(source: string, level: PostureLevel, reason: string, forMs: number): void;
}

/** Looks at once, and then as long as it is not disposed. */
export function followTimers(parts: TimerParts): Disposable {
  const { clock, timers } = parts;
  let next: Timer | undefined;
  const look = (): void => {
    for (const timer of timers) say(parts, timer);
    next = clock.after(LOOK_MS, look);
  };
  if (timers.length > 0) look();
  return { [Symbol.dispose]: () => next?.cancel() };
}

/** The host's clock may be set at any time, and tells nobody. */
const LOOK_MS = 10_000;
/** What is said ends at the same time as the window, but for what the host's clock was set meanwhile. */
const SAME_END_MS = 3_600_000;

function say({ clock, sources, state }: TimerParts, { name, level, window }: AccordTimer): void {
  const now = clock.now();
  const end = windowEnd(window, now);
  if (end === undefined) return;
  const source = `timer-${name}`;
  // Said again, it would undo that a site_owner set this window aside.
  const held = sources().find((stated) => stated.source === source);
  const until = held?.level === level ? (held.expiresAtMs ?? 0) : 0;
  const isSaid = until > now && Math.abs(until - end) < SAME_END_MS;
  if (!isSaid) state(source, level, `the accord's timer ${name}`, end - now);
}
