/**
 * One setting of a posture level: what values it takes, and which of two is the stricter. The order is what makes
 * "a lower level only takes away" and "a site may only make it stricter" checkable for every setting alike.
 */
import { z } from 'zod';

export interface RuleField<T> {
  readonly schema: z.ZodType<T>;
  /** Whether `value` allows nothing that `than` does not. */
  isAsStrict(value: T, than: T): boolean;
}

/** One of several words, from the loosest to the strictest. */
export function scale<const Words extends readonly [string, ...string[]]>(...words: Words): RuleField<Words[number]> {
  return {
    schema: z.enum(words),
    isAsStrict: (value, than) => words.indexOf(value) >= words.indexOf(than),
  };
}

/** Off is the looser. */
export function flag(): RuleField<boolean> {
  return { schema: z.boolean(), isAsStrict: (value, than) => value || !than };
}

/** A whole number of which more is stricter. */
export function atLeast(lowest: number, highest: number): RuleField<number> {
  return { schema: z.int().min(lowest).max(highest), isAsStrict: (value, than) => value >= than };
}

/** A whole number of which less is stricter. */
export function atMost(lowest: number, highest: number): RuleField<number> {
  return { schema: z.int().min(lowest).max(highest), isAsStrict: (value, than) => value <= than };
}

/** Some of several words, each at most once; fewer are stricter. */
export function subset<const Words extends readonly [string, ...string[]]>(
  words: Words,
): RuleField<readonly Words[number][]> {
  return {
    schema: z.array(z.enum(words)).refine((list) => new Set(list).size === list.length, 'one of them twice'),
    isAsStrict: (value, than) => value.every((word) => than.includes(word)),
  };
}
