import type { Running } from '../support/processes.ts';
import type { EventLine } from './answers.ts';

/** What `shellstream events --json` printed so far. */
export class EventLog implements AsyncDisposable {
  readonly #process: Running;

  constructor(process: Running) {
    this.#process = process;
  }

  get all(): readonly EventLine[] {
    const lines = this.#process.sofar().stdout.split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line));
  }

  /** The first of a kind, from `since` (milliseconds since the epoch) on, that fits. */
  find(kind: string, fits: (event: EventLine) => boolean = () => true, since = 0): EventLine | undefined {
    return this.all.find((event) => event.kind === kind && event.atMs >= since && fits(event));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
