/** Hours at which an accord asks for a stricter level by itself. They are read in UTC, and only ever take away. */
import { z } from 'zod';
import type { PostureLevel } from './level.ts';

/** One window, or the same one every day. */
export interface AccordTimer {
  readonly name: string;
  readonly level: PostureLevel;
  readonly window: TimerWindow;
}

export type TimerWindow =
  /** Milliseconds since the epoch; `until` is no part of it. */
  | { readonly kind: 'once'; readonly from: number; readonly until: number }
  /** Milliseconds since midnight, UTC; `until` before `from` is the next day's. */
  | { readonly kind: 'daily'; readonly from: number; readonly until: number };

/** When the window that holds `now` ends, milliseconds since the epoch; undefined outside of it. */
export function windowEnd(window: TimerWindow, now: number): number | undefined {
  switch (window.kind) {
    case 'once':
      return window.from <= now && now < window.until ? window.until : undefined;
    case 'daily': {
      const length = (window.until - window.from + DAY_MS) % DAY_MS;
      const today = Math.floor(now / DAY_MS) * DAY_MS;
      // The one that began yesterday may still be open.
      const ends = [today - DAY_MS, today].map((day) => day + window.from + length);
      return ends.find((end) => end - length <= now && now < end);
    }
  }
}

const DAY_MS = 86_400_000;
const MAX_TIMERS = 32;

const instant = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'a time in UTC: 2027-01-31T22:00:00Z')
  .transform((text) => Date.parse(text))
  .refine((time) => !Number.isNaN(time), 'no such time');
const hour = z
  .string()
  .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'an hour in UTC: 22:00')
  .transform((text) => {
    const [hours = 0, minutes = 0] = text.split(':').map(Number);
    return (hours * 60 + minutes) * 60_000;
  });

const once = z
  .strictObject({ from: instant, until: instant })
  .refine(({ from, until }) => from < until, 'ends before it begins')
  .transform((window): TimerWindow => ({ kind: 'once', ...window }));
const daily = z
  .strictObject({ from: hour, until: hour })
  .refine(({ from, until }) => from !== until, 'begins when it ends')
  .transform((window): TimerWindow => ({ kind: 'daily', ...window }));

const heading = {
  // With what stands before it, a source's name on the console.
  name: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, 'a name: a-z, 0-9 and dashes'),
  // 5 would ask for nothing.
  level: z.literal([1, 2, 3, 4] as const satisfies readonly PostureLevel[], 'a level from 1 to 4'),
};

const timer = z.union(
  [
    z.strictObject({ ...heading, once }).transform(({ name, level, once: window }) => ({ name, level, window })),
    z.strictObject({ ...heading, daily }).transform(({ name, level, daily: window }) => ({ name, level, window })),
  ],
  'a name, a level, and either once or daily, each with from and until',
);

/** Of one document. */
export const timersSchema = z
  .array(timer)
  .max(MAX_TIMERS)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'one name twice');
