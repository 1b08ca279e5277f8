/** Starts the machine, passes on what it says, and gives the sum of its parts; whatever happens, it ends and nothing stays. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertNever } from '../../protocol/errors.ts';
import { sleep, systemClock } from '../../src/base/clock.ts';
import { REPOSITORY } from '../runner/child.ts';
import { lastLine, sum, type Tally } from '../runner/tally.ts';
import { run } from '../support/processes.ts';
import { buildInitramfs } from './initramfs.ts';
import type { StockKernel } from './kernel.ts';
import { type Machine, startMachine } from './machine.ts';
import { parseReport, type Report } from './report.ts';

/** Of everything together. A quiet host takes a third of it. */
const LIMIT_MS = 20 * 60_000;
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
    const record = new Record();
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

/** What the machine reported so far. */
class Record {
  readonly #tallies: Tally[] = [];
  readonly #garbled: string[] = [];
  #under: string | undefined = 'start';
  #isDone = false;

  take(line: string): void {
    if (line === '') return;
    let report: Report;
    try {
      report = parseReport(line);
    } catch {
      this.#garbled.push(line);
      return;
    }
    this.#keep(report);
  }

  /** A part that did not end is a failure, whatever the reason: what has not run proves nothing. */
  tally(wrong: string | undefined): Tally {
    const failed = this.#garbled.map((line) => ({ name: 'a line that is no report', why: line.slice(0, 200) }));
    if (wrong !== undefined) failed.push({ name: 'the machine', why: wrong });
    if (!this.#isDone) {
      const where = this.#under === undefined ? 'between parts' : `during ${this.#under}`;
      failed.push({ name: 'the machine', why: `went off ${where}, before everything had run` });
    }
    return sum([...this.#tallies, { passed: 0, failed, skipped: [] }]);
  }

  #keep(report: Report): void {
    switch (report.kind) {
      case 'boot':
        console.log(`  Linux ${report.kernel} is up${report.boots > 1 ? ', after a reboot' : ''}`);
        this.#under = undefined;
        return;
      case 'begin':
        this.#under = report.part;
        return;
      case 'end':
        this.#under = undefined;
        this.#tallies.push(report.tally);
        console.log(`  ${report.part}: ${lastLine(report.tally, true)} in ${report.seconds} s`);
        return;
      case 'figure':
        console.log(`  ${JSON.stringify(report.figure)}`);
        return;
      case 'done':
        this.#isDone = true;
        return;
    }
    assertNever(report);
  }
}
