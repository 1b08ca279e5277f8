/**
 * For an input that never ends or that takes the process with it: another thread sees that the search stands still,
 * writes the input down and ends the process. Time is only the net here; what an input may cost is counted in steps.
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { save } from './store.ts';

const PATIENCE_MS = 30_000;
const HEAD_WORDS = 2;

interface Shared {
  readonly target: string;
  readonly buffer: SharedArrayBuffer;
}

export class Watchdog implements AsyncDisposable {
  readonly #buffer: SharedArrayBuffer;
  readonly #head: Int32Array;
  readonly #worker: Worker;

  constructor(target: string, maxBytes: number) {
    this.#buffer = new SharedArrayBuffer(HEAD_WORDS * 4 + maxBytes);
    this.#head = new Int32Array(this.#buffer, 0, HEAD_WORDS);
    const shared: Shared = { target, buffer: this.#buffer };
    this.#worker = new Worker(new URL(import.meta.url), { workerData: { watchdog: shared } });
    this.#worker.unref();
  }

  /** This input is next. */
  expect(input: Uint8Array): void {
    new Uint8Array(this.#buffer, HEAD_WORDS * 4).set(input);
    Atomics.store(this.#head, 1, input.length);
    Atomics.add(this.#head, 0, 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

function watch({ target, buffer }: Shared): void {
  const head = new Int32Array(buffer, 0, HEAD_WORDS);
  let last = 0;
  setInterval(() => {
    const now = Atomics.load(head, 0);
    if (now === last && now > 0) {
      const input = Uint8Array.from(new Uint8Array(buffer, HEAD_WORDS * 4, Atomics.load(head, 1)));
      console.error(`no end within ${PATIENCE_MS / 1000} s: ${save('crashes', target, input)}`);
      process.kill(process.pid, 'SIGKILL');
    }
    last = now;
  }, PATIENCE_MS);
}

if (!isMainThread && workerData?.watchdog !== undefined) watch(workerData.watchdog);
