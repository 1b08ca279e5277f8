/** How often the ends of a session ask whether the other still speaks (P1). */
import type { Accord } from './accord.ts';
import type { PostureLevel } from './level.ts';

/**
 * Milliseconds from one PING to the next at the level that governs the session: never more than `mostMs`, and less where
 * the accord asks for health checks more often. Each end goes by its own accord.
 */
export function healthPaceMs(accord: Accord, level: PostureLevel, mostMs: number): number {
  return Math.min(mostMs, accord.levels[level].overlay.healthCheckSeconds * 1000);
}
