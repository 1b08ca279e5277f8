import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { patient } from '../support/patience.ts';

export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

export interface Ended {
  /** What it printed, stdout and stderr as they came. */
  readonly output: string;
  readonly code: number | null;
  /** How it ended, for a reader: "code 1", "killed by SIGTERM after 600 s", "does not start: …". */
  readonly how: string;
}

/** Longer than any suite takes; a suite that hangs must not hang the run. */
const LIMIT_MS = patient(25 * 60_000);

/** Runs one tool in the repository, its output kept and, when `shown`, passed on as it comes. Never rejects. */
export function tool(
  command: string,
  args: readonly string[],
  options: { shown: boolean; env?: NodeJS.ProcessEnv },
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], {
      cwd: REPOSITORY,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LIMIT_MS,
    });
    let output = '';
    for (const [stream, sink] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ] as const) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
        if (options.shown) sink.write(chunk);
      });
    }
    child.once('error', (error) => resolve({ output, code: null, how: `does not start: ${error.message}` }));
    child.once('close', (code, signal) => {
      const how = signal === null ? `code ${code}` : `killed by ${signal}, the limit being ${LIMIT_MS / 1000} s`;
      resolve({ output, code, how });
    });
  });
}

/** A program of node_modules/.bin that is written in JavaScript, on the Node of this process. */
export const nodeModule = (path: string): string => `${REPOSITORY}node_modules/${path}`;
