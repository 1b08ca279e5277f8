/** What a fuzz target is, and what its checks are written with. */
import { ShellstreamError } from '../protocol/errors.ts';
import type { Reason } from '../protocol/reasons.ts';
import type { Format } from './formats/format.ts';

export interface Target {
  readonly about: string;
  /** Source files, or folders with a slash at their end, whose coverage is told. */
  readonly covers: readonly string[];
  /** Longer inputs are not tried. */
  readonly maxBytes: number;
  /** How the structure-aware mutators read an input; without one only bytes are changed. */
  readonly format?: Format;
  readonly dictionary: readonly (string | Uint8Array)[];
  readonly seeds: readonly Uint8Array[];
  /** What one input may cost, in executed blocks of code; {@link usualSteps} unless told. */
  readonly steps?: (bytes: number) => number;
  /**
   * Feeds one input to the code and checks what must hold. Anything thrown is a finding. The answer is a word for how it
   * ended: an input with a new one is worth keeping, even where it reaches no new code.
   */
  run(input: Uint8Array): string | Promise<string>;
  dispose?(): Promise<void>;
}

/** Makes a target ready. Throws {@link Unavailable} where the host cannot run it. */
export type OpenTarget = () => Promise<Target>;

export class Unavailable extends Error {}

/** A claim about the code that did not hold. */
export class Violation extends Error {}

export function holds(claim: boolean, text: string): asserts claim {
  if (!claim) throw new Violation(text);
}

/** Every parser of ours is linear; the constants are twice what the slowest honest input takes. */
export function usualSteps(bytes: number): number {
  return 100_000 + 2_000 * bytes;
}

export interface Refusals {
  readonly reasons: readonly Reason[];
  /** Must not be in any error. */
  readonly secrets?: readonly string[];
  /** Characters of an error and its causes together: what a peer sends must not fill the log. */
  readonly longest?: number;
}

/** The value of `action`, or the word for its refusal, which must be one of the allowed kind. */
export function attempt<T>(allowed: Refusals, action: () => T): { readonly value: T } | { readonly refusal: string } {
  try {
    return { value: action() };
  } catch (error) {
    return { refusal: judged(allowed, error) };
  }
}

/** The word for a refusal; throws what is none. */
export function judged({ reasons, secrets = [], longest = 4_096 }: Refusals, error: unknown): string {
  if (!(error instanceof ShellstreamError)) throw error;
  if (!reasons.includes(error.reason)) {
    throw new Violation(`refused with ${error.reason}, which is none of ${reasons.join(', ')}`, { cause: error });
  }
  const text = everythingIn(error);
  holds(text.length <= longest, `an error of ${text.length} characters`);
  holds(!secrets.some((secret) => text.includes(secret)), 'a secret in an error');
  return wordFor(error.message);
}

/** Whether two values are alike, bytes included; independent of the code under test. */
export function alike(one: unknown, other: unknown): boolean {
  if (one instanceof Uint8Array && other instanceof Uint8Array) return Buffer.compare(one, other) === 0;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return Object.is(one, other);
  }
  const names = Object.keys(one);
  if (names.length !== Object.keys(other).length) return false;
  return names.every((name) => Object.hasOwn(other, name) && alike(Reflect.get(one, name), Reflect.get(other, name)));
}

function everythingIn(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const fields = error instanceof ShellstreamError ? JSON.stringify(error.fields) : '';
  return `${error.message} ${fields} ${error.cause === undefined ? '' : everythingIn(error.cause)}`;
}

/** Numbers and quotations differ from input to input and mean nothing. */
function wordFor(message: string): string {
  return message
    .replace(/"(?:[^"\\]|\\.)*"?/g, '"')
    .replace(/[0-9]+/g, '0')
    .slice(0, 60);
}
