import { start } from '../../test/support/processes.ts';
import { cpuMicroseconds } from '../cpu.ts';
import type { Subject } from '../harness.ts';

/**
 * Sessions before the first sample: about as many as an engine that compiles what is hot needs until the figure no longer
 * falls, whoever's program it runs.
 */
export const WARM_UP_SESSIONS = 4_000;
/** Sessions of one sample, and how many of them are open at a time. */
export const SESSIONS = 1_000;
export const CONCURRENCY = 4;

export interface ServerUnderLoad {
  readonly command: string;
  readonly args: readonly string[];
  /** One whole session against the server's port; rejects unless it went as it should. */
  session(port: number): Promise<void>;
  /** Once, before anything is measured: that the server refuses whom it must. */
  proof?(port: number): Promise<void>;
}

/** A server process that says `listening PORT`; a sample is its CPU time per session in microseconds. */
export async function serverSubject(server: ServerUnderLoad): Promise<Subject> {
  await using stack = new AsyncDisposableStack();
  const child = stack.use(start(server.command, server.args));
  const port = Number((await child.line(/^listening \d+/)).split(' ')[1]);
  await server.proof?.(port);
  const owned = stack.move();
  return {
    warmUp: () => inParallel(WARM_UP_SESSIONS, CONCURRENCY, () => server.session(port)),
    async sample() {
      const before = cpuMicroseconds(child.pid);
      await inParallel(SESSIONS, CONCURRENCY, () => server.session(port));
      return (cpuMicroseconds(child.pid) - before) / SESSIONS;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Runs `action` so many times, some at once. */
export async function inParallel(times: number, concurrency: number, action: () => Promise<void>): Promise<void> {
  let left = times;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await action();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}
