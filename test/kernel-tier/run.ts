/** Starts the machine, passes on what it says, and gives the sum of its parts; whatever happens, it ends and nothing stays. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep, systemClock } from '../../src/base/clock.ts';
import { REPOSITORY } from '../runner/child.ts';
import type { Tally } from '../runner/tally.ts';
import { run } from '../support/processes.ts';
import { buildInitramfs } from './initramfs.ts';
import type { StockKernel } from './kernel.ts';
import { type Machine, startMachine } from './machine.ts';
import { RunRecord } from './record.ts';

/** Of everything together. A quiet host takes a third of it. */
const LIMIT_MS = 40 * 60_000;
/** Beside `dist`, which others build, too. guest/start.sh knows it. */
const BUILD = '.cache/kernel-tier-build';
const BUILD_MS = 300_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The end of the console, shown when something failed. */
const CONSOLE_LINES = 400;

export async function runMachine(kernel: StockKernel): Promise<Tally> {
  const folder = await mkdtemp(join(tmpdir(), 'shs-kernel-tier-'));
  try {
    const disk = join(folder, 'disk');
    await mkdir(disk);
    // The machine runs gateways from it.
    await run('sh', ['deploy/build.sh', BUILD], { cwd: REPOSITORY, timeoutMs: BUILD_MS });
    const initramfs = await buildInitramfs(folder, kernel);
    const record = new RunRecord();
    await using machine = startMachine({
      image: kernel.image,
      initramfs,
      disk,
      folder,
      onLine: (line) => record.take(line),
    });
    const interrupted = (): void => machine.kill();
    for (const signal of SIGNALS) process.once(signal, interrupted);
    const wrong = await untilOff(machine);
    for (const signal of SIGNALS) process.removeListener(signal, interrupted);
    const tally = record.tally(wrong);
    if (tally.failed.length > 0) await showConsole(machine);
    return tally;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What went wrong with the machine itself. */
async function untilOff(machine: Machine): Promise<string | undefined> {
  const ended = new AbortController();
  const late = sleep(systemClock, LIMIT_MS, ended.signal).then(() => `not off after ${LIMIT_MS / 60_000} minutes`);
  const wrong = await Promise.race([machine.off, late]);
  ended.abort();
  return wrong;
}

async function showConsole(machine: Machine): Promise<void> {
  const lines = (await machine.console()).split('\n').slice(-CONSOLE_LINES);
  console.log(`  the end of the machine's console:\n${lines.map((line) => `  | ${line.trimEnd()}\n`).join('')}`);
}
