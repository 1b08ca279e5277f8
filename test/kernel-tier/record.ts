import { assertNever } from '../../protocol/errors.ts';
import { lastLine, sum, type Tally } from '../runner/tally.ts';
import { parseReport, type Report } from './report.ts';

/** What the machine reported so far. */
export class RunRecord {
  readonly #tallies: Tally[] = [];
  readonly #garbled: string[] = [];
  #under: string | undefined = 'start';
  #isDone = false;

  /** A line of the machine. */
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

  /**
   * What it all comes to, once the machine is off; `wrong` is what was wrong with the machine itself. A part that did not end is a failure, whatever the reason: what has not run
   * proves nothing.
   */
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
