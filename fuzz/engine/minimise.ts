/** Fewer inputs that reach the same, and a smaller one that breaks the same way. */
import type { Target } from '../target.ts';
import { spliced } from './byte-mutations.ts';
import { type CoverageProbe, Covered } from './coverage.ts';
import { execute, signature } from './execute.ts';

/** A corpus is read by people and stored for ever. */
const MOST_INPUTS = 48;
const MOST_BYTES = 64 * 1024;

/** Smallest first, those that reach code or end as none before them did; new code counts before new words. */
export async function minimiseCorpus(
  target: Target,
  probe: Pick<CoverageProbe, 'read'>,
  inputs: readonly Uint8Array[],
): Promise<readonly Uint8Array[]> {
  const covered = new Covered();
  const words = new Set<string>();
  const forCode: Uint8Array[] = [];
  const forWords: Uint8Array[] = [];
  probe.read();
  for (const input of inputs.toSorted((one, other) => one.length - other.length)) {
    const execution = await execute(target, input);
    const fresh = covered.add(probe.read());
    if (execution.kind === 'broke') continue;
    const isNewWord = !words.has(execution.word);
    words.add(execution.word);
    if (fresh > 0) forCode.push(input);
    else if (isNewWord) forWords.push(input);
  }
  let bytes = 0;
  return [...forCode, ...forWords].slice(0, MOST_INPUTS).filter((input) => {
    bytes += input.length;
    return bytes <= MOST_BYTES;
  });
}

/** Takes away pieces as long as it breaks with the same signature. */
export async function minimiseFinding(target: Target, input: Uint8Array, error: unknown): Promise<Uint8Array> {
  const wanted = signature(error);
  let best = input;
  let tries = 0;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.length && tries < MOST_TRIES; tries += 1) {
      const smaller = spliced(best, at, Math.min(at + size, best.length), new Uint8Array());
      const execution = await execute(target, smaller);
      if (execution.kind === 'broke' && signature(execution.error) === wanted) best = smaller;
      else at += size;
    }
  }
  return best;
}

const MOST_TRIES = 2_000;
