/** Verifpal: which queries of a model it finds an attack for, within so many sessions at once. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tool } from '../runner/child.ts';

export interface Analysis {
  /** As the model says them, in its order. */
  readonly queries: readonly string[];
  readonly attacked: readonly string[];
}

/** @throws Error when the model is not one, or the search ended early */
export async function analyse(verifpal: string, model: string, sessions: number): Promise<Analysis> {
  const folder = await mkdtemp(join(tmpdir(), 'shellstream-model-'));
  try {
    const file = join(folder, 'model.vp');
    await writeFile(file, model);
    const args = ['verify', file, '--sessions', `${sessions}`, '--format', 'json'];
    const { output, how } = await tool(verifpal, args, { shown: false });
    return readAnalysis(output, how);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param how it ended, for when it said nothing that can be read */
export function readAnalysis(output: string, how: string): Analysis {
  const report = parsed(output);
  if (report === undefined) throw new Error(`no report (${how}): ${output.slice(0, 500)}`);
  const [model] = report.models;
  if (model?.analysis === undefined) throw new Error(model?.error ?? 'an empty report');
  const { queries } = model.analysis;
  if (queries.length === 0) throw new Error('the model asks nothing');
  const cut = queries.find(({ resolved, envelope }) => !resolved && !envelope.exhausted);
  if (cut !== undefined) throw new Error(`the search for ${cut.query} ended early`);
  return {
    queries: queries.map(({ query }) => query),
    attacked: queries.filter(({ resolved }) => resolved).map(({ query }) => query),
  };
}

interface Report {
  readonly models: readonly {
    readonly error?: string;
    readonly analysis?: {
      readonly queries: readonly {
        readonly query: string;
        readonly resolved: boolean;
        readonly envelope: { readonly exhausted: boolean };
      }[];
    };
  }[];
}

function parsed(output: string): Report | undefined {
  try {
    return JSON.parse(output) as Report;
  } catch {
    return undefined;
  }
}
