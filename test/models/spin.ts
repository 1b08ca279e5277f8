/** Spin: whether a model keeps its assertions in every interleaving; all states are visited, or it is an error. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tool } from '../runner/child.ts';

export interface Search {
  readonly holds: boolean;
  readonly states: number;
  /** What was violated. */
  readonly why: string;
}

const MEGABYTES = 3_000;

/** @throws Error when the model does not compile, or the search did not visit everything */
export async function search(model: string, defines: readonly string[]): Promise<Search> {
  const folder = await mkdtemp(join(tmpdir(), 'shellstream-model-'));
  try {
    await writeFile(join(folder, 'model.pml'), model);
    const flags = defines.map((define) => `-D${define}`);
    // Spin writes its verifier into the directory it runs in.
    const script =
      'cd "$0" && spin -a "$@" model.pml && gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=$MEGABYTES -o pan pan.c';
    const built = await tool('sh', ['-c', script, folder, ...flags], {
      shown: false,
      env: { MEGABYTES: `${MEGABYTES}` },
    });
    if (built.code !== 0) throw new Error(`${built.how}: ${built.output.slice(0, 500)}`);
    // -E: a process that waits for ever is no error here; AtRest looks at what it waits in.
    const { output, how } = await tool('sh', ['-c', 'cd "$0" && ./pan -E -m100000', folder], { shown: false });
    return readSearch(output, how);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param how it ended, for when it said nothing that can be read */
export function readSearch(output: string, how: string): Search {
  const errors = /errors: (\d+)/.exec(output)?.[1];
  const states = Number(/^\s*([\d.e+]+) states, stored/m.exec(output)?.[1]);
  if (errors === undefined || !(states > 0)) throw new Error(`no result (${how}): ${output.slice(-500)}`);
  const why = /^pan:\d+: (.*) \(at depth/m.exec(output)?.[1] ?? '';
  if (errors === '0' && /max search depth too small|Search not completed|reached -DMEMLIM/.test(output)) {
    throw new Error('the search ended early');
  }
  if (errors !== '0' && !why.startsWith('assertion violated')) throw new Error(`not an assertion: ${why}`);
  return { holds: errors === '0', states, why };
}
