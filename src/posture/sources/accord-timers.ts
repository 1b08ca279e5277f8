/**
 * The accord's timers as sources of posture. A window that is open is said once, until its end. It is never taken back
 * before: a host clock that jumps past the end loosens nothing, and one that jumps into a window tightens.
 */
import { type AccordTimer, type PostureLevel, windowEnd } from '../../../protocol/posture/index.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { TIMER } from '../kept.ts';
import type { StatedSource } from '../source-statements.ts';

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
/** What was set aside ends at the same time as the window, but for what the host's clock was set meanwhile. */
const SAME_END_MS = 3_600_000;
/** Of the clock's own steps. */
const DRIFT_MS = 1_000;

function say({ clock, sources, state }: TimerParts, { name, level, window }: AccordTimer): void {
  const now = clock.now();
  const end = windowEnd(window, now);
  if (end === undefined) return;
  const source = `${TIMER}${name}`;
  const held = sources().find((stated) => stated.source === source);
  if (held?.level === level && isSaid(held, now, end)) return;
  state(source, level, `the accord's timer ${name}`, end - now);
}

function isSaid({ counts, expiresAtMs: until = 0 }: StatedSource, now: number, end: number): boolean {
  // A clock that was set back, by minutes too, would let it run out before its window does.
  if (counts) return until >= end - DRIFT_MS;
  // Said again, it would undo that a site_owner set this window aside.
  return until > now && Math.abs(until - end) < SAME_END_MS;
}
