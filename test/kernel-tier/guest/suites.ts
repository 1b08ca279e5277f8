import type { Tally } from '../../runner/tally.ts';
import { runVitest } from '../../runner/vitest.ts';

/** The vitest files of vitest.config.ts, on the machine's kernel. */
export function suites(): Promise<Tally> {
  return runVitest('suites', ['--config', 'test/kernel-tier/guest/vitest.config.ts']);
}
