import type { Tally } from '../../runner/tally.ts';
import { runVitest } from '../../runner/vitest.ts';
import { run } from '../../support/processes.ts';

/** The vitest files of vitest.config.ts, on the machine's kernel. */
export async function suites(): Promise<Tally> {
  const tally = await runVitest('suites', ['--config', 'test/kernel-tier/guest/vitest.config.ts']);
  await tellCrashes();
  return tally;
}

/** Processes that a fault ended, with the place in which library: the kernel tells its own log alone, and it goes with the machine. */
async function tellCrashes(): Promise<void> {
  const { stdout } = await run('dmesg', []);
  for (const [line] of stdout.matchAll(/^.*(?:segfault at|general protection|traps:|invalid opcode).*$/gm)) {
    console.log(`a process crashed: ${line}`);
  }
}
