import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { nodeModule, REPOSITORY, tool } from './child.ts';
import type { Suite, Tally } from './tally.ts';
import { TALLY_FILE } from './vitest-reporter.ts';

/** One project of vitest.config.ts, run on the Node of this process. */
export function vitestProject(project: string, about: string): Suite {
  return { name: project, about, run: () => runVitest(project, ['--project', project, '--passWithNoTests']) };
}

/** `name` is for the failure that has no test's name. */
export async function runVitest(name: string, selection: readonly string[]): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), 'shellstream-tally-'));
  const file = join(folder, 'tally.json');
  try {
    const reporters = ['--reporter=default', `--reporter=${REPOSITORY}test/runner/vitest-reporter.ts`];
    const args = [nodeModule('vitest/vitest.mjs'), 'run', ...selection, ...reporters];
    const ended = await tool(process.execPath, args, { shown: true, env: { [TALLY_FILE]: file } });
    const tally = readTally(file);
    if (tally === undefined) return failure(name, `left no result: ${ended.how}`);
    if (ended.code === 0 || tally.failed.length > 0) return tally;
    return { ...tally, failed: failure(name, ended.how).failed };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const outcomes = z.array(z.object({ name: z.string(), why: z.string() }));
export const tallyShape = z.object({ passed: z.number(), failed: outcomes, skipped: outcomes });

function readTally(file: string): Tally | undefined {
  try {
    return tallyShape.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

const failure = (name: string, why: string): Tally => ({ passed: 0, failed: [{ name, why }], skipped: [] });
