import { REPOSITORY, tool } from './child.ts';
import type { Outcome, Suite, Tally } from './tally.ts';

/** The committed corpus of the fuzzer and every input that once broke something; searching is `npm run fuzz`. */
export const fuzzReplay: Suite = {
  name: 'fuzz',
  about: 'the corpus and the past crashes of the fuzzer, once each',
  run: async (): Promise<Tally> => {
    const ended = await tool(process.execPath, [`${REPOSITORY}fuzz/main.ts`, '--replay'], { shown: true });
    const tally = readReplay(ended.output);
    if (ended.code === 0 || tally.failed.length > 0) return tally;
    return { ...tally, failed: [{ name: 'fuzz --replay', why: ended.how }] };
  },
};

/** The count from the last line, names from the lines of what failed (✗ NAME) or was left out (- TARGET: WHY). */
export function readReplay(output: string): Tally {
  const passed = Number(/^(\d+) passed, \d+ failed/m.exec(output)?.[1] ?? 0);
  const named = (pattern: RegExp): Outcome[] =>
    [...output.matchAll(pattern)].map(([, name = '', why = '']) => ({ name, why: why.trim() }));
  return { passed, failed: named(/^✗ (.+)\n(.*)/gm), skipped: named(/^- (.+?): (.+)$/gm) };
}
