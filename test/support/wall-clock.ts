/** A wall clock that a test sets, of the processes that are started behind it; every other clock of theirs is the host's. */
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './processes.ts';

export interface WallClock {
  /** What runs a command under it. */
  readonly before: readonly string[];
  /** Acts at once on what runs. @param seconds what it is ahead of the host's; negative: behind */
  set(seconds: number): Promise<void>;
}

/** Its files are in this folder, which is the test's own. */
export async function createWallClock(folder: string): Promise<WallClock> {
  const library = join(folder, 'wall-clock.so');
  const ahead = join(folder, 'wall-clock');
  await run('clang-14', ['-O1', '-shared', '-fPIC', '-o', library, SOURCE, '-ldl']);
  await writeFile(ahead, new Uint8Array(8));
  return {
    before: ['env', `LD_PRELOAD=${library}`, `SHS_WALL_CLOCK=${ahead}`],
    async set(seconds) {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(BigInt(seconds));
      // In place: who has it mapped must not see it shorter.
      await using file = await open(ahead, 'r+');
      await file.write(bytes, 0, bytes.length, 0);
    },
  };
}

const SOURCE = fileURLToPath(new URL('../system/children/wall-clock.c', import.meta.url));
