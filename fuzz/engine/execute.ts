/** One input through a target: its word, or what is wrong. */
import { type Target, usualSteps } from '../target.ts';

export type Execution =
  | { readonly kind: 'ended'; readonly word: string }
  | { readonly kind: 'broke'; readonly error: unknown };

export async function execute(target: Target, input: Uint8Array): Promise<Execution> {
  const before = Buffer.from(input);
  try {
    const answer = target.run(input);
    const word = typeof answer === 'string' ? answer : await answer;
    if (Buffer.compare(before, input) !== 0) return broke('the input was written into');
    return isPolluted() ? broke('a prototype of the language was changed') : { kind: 'ended', word };
  } catch (error) {
    return { kind: 'broke', error };
  }
}

export function stepLimit(target: Target, input: Uint8Array): number {
  return (target.steps ?? usualSteps)(input.length);
}

export function broke(text: string): Execution {
  return { kind: 'broke', error: new Error(text) };
}

const PROTOTYPES = [Object.prototype, Array.prototype, Function.prototype, Map.prototype, Uint8Array.prototype];
const count = (): number => PROTOTYPES.reduce<number>((sum, one) => sum + Reflect.ownKeys(one).length, 0);
const usual = count();

function isPolluted(): boolean {
  return count() !== usual;
}

/** What two findings of one bug have in common. */
export function signature(error: unknown): string {
  const lines = error instanceof Error ? (error.stack ?? error.message).split('\n') : [String(error)];
  const place = lines.find((line) => /^\s+at /.test(line) && !line.includes('node:'))?.trim() ?? '';
  return `${lines[0]?.replace(/[0-9]+/g, '0').slice(0, 120)} ${place}`;
}
