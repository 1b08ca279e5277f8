import { existsSync } from 'node:fs';
import { REPOSITORY, tool } from './child.ts';
import type { Suite, Tally } from './tally.ts';

/** In release mode: it is the code that ships, and the dependencies are built for it already. */
export const cargoTests: Suite = {
  name: 'native',
  about: 'cargo test of the native addons',
  run: async (): Promise<Tally> => {
    const cargo = await tool('cargo', ['--version'], { shown: false });
    if (cargo.code !== 0)
      return { passed: 0, failed: [], skipped: [{ name: 'cargo test', why: `cargo: ${cargo.how}` }] };
    if (!existsSync(`${REPOSITORY}native/Cargo.toml`)) return { passed: 0, failed: [], skipped: [] };
    const args = ['test', '--release', '--workspace', '-j2', '--manifest-path', 'native/Cargo.toml'];
    const ended = await tool('cargo', args, { shown: true });
    const tally = readCargoTest(ended.output);
    if (ended.code === 0 || tally.failed.length > 0) return tally;
    return { ...tally, failed: [{ name: 'cargo test', why: ended.how }] };
  },
};

/**
 * Counts from the summary line of each test binary, names from the lines of the tests. A failure whose line was torn by the
 * test's own output is counted all the same, without its name.
 */
export function readCargoTest(output: string): Tally {
  const totals = [...output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm)];
  const total = (group: number): number => totals.reduce((all, match) => all + Number(match[group]), 0);
  const failures = [...output.matchAll(/^test (.+) \.\.\. FAILED$/gm)].map((match) => `${match[1]}`);
  const ignored = [...output.matchAll(/^test (.+) \.\.\. ignored(?:, (.*))?$/gm)];
  return {
    passed: total(1),
    failed: Array.from({ length: total(2) }, (_, n) => ({ name: failures[n] ?? 'a Rust test', why: 'see above' })),
    skipped: Array.from({ length: total(3) }, (_, n) => ({
      name: ignored[n]?.[1] ?? 'a Rust test',
      why: ignored[n]?.[2] ?? 'marked #[ignore] without a reason',
    })),
  };
}
