import { createInterface } from 'node:readline/promises';
import type { CliWorld } from '../cli/world.ts';

/** The operator at this process's terminal. Questions go to standard error: standard output is for what was asked for. */
export function terminal(interrupted: AbortSignal): ReturnType<CliWorld['questions']> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  return {
    ask: (question) => lines.question(question, { signal: interrupted }),
    [Symbol.dispose]: () => lines.close(),
  };
}
