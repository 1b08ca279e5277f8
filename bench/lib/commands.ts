import { createInterface } from 'node:readline';

/**
 * The child's half of a load: says `ready`, then for each line `WORD… TAG` does what it says and answers `done TAG RESULT`.
 * The process ends with the first thing that goes wrong.
 */
export function obey(command: (words: readonly string[]) => Promise<unknown>): void {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const words = line.split(' ');
    const tag = words.pop();
    command(words).then(
      (result) => process.stdout.write(`done ${tag} ${typeof result === 'string' ? result : ''}\n`),
      (error: unknown) => {
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.stdout.write('ready\n');
}
