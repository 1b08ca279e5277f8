/** The corpus and every crash of the past, once each. */
import { type OpenTarget, type Target, Unavailable } from '../target.ts';
import type { CoverageProbe } from './coverage.ts';
import { execute, stepLimit } from './execute.ts';
import { type Kept, load } from './store.ts';

export interface Replayed {
  readonly inputs: number;
  readonly failures: readonly { readonly name: string; readonly error: unknown }[];
  /** Why the host cannot run the target. */
  readonly skipped?: string;
}

export async function replay(name: string, open: OpenTarget, probe: CoverageProbe): Promise<Replayed> {
  let target: Target;
  try {
    target = await open();
  } catch (error) {
    if (error instanceof Unavailable) return { inputs: 0, failures: [], skipped: error.message };
    throw error;
  }
  try {
    const crashes = load('crashes', name).map((kept) => ({ ...kept, name: `crashes/${name}/${kept.name}` }));
    const corpus = load('corpus', name).map((kept) => ({ ...kept, name: `corpus/${name}/${kept.name}` }));
    const seeds = target.seeds.map((bytes, at) => ({ name: `seed ${at} of ${name}`, bytes }));
    const failures: { name: string; error: unknown }[] = [];
    for (const kept of [...seeds, ...corpus, ...crashes]) {
      const error = await brokenBy(target, probe, kept);
      if (error !== undefined) failures.push({ name: kept.name, error });
    }
    return { inputs: seeds.length + corpus.length + crashes.length, failures };
  } finally {
    await target.dispose?.();
  }
}

async function brokenBy(target: Target, probe: CoverageProbe, { bytes }: Kept): Promise<unknown> {
  probe.read();
  const execution = await execute(target, bytes);
  const { steps } = probe.read();
  if (execution.kind === 'broke') return execution.error;
  const most = stepLimit(target, bytes);
  return steps > most ? new Error(`took ${steps} steps, at most ${most}`) : undefined;
}
