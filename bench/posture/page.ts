import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGovernancePage } from '../../src/dataplane/linux/page.ts';
import { run, start } from '../../test/support/processes.ts';
import type { Contender } from '../harness.ts';

const KERNEL = fileURLToPath(new URL('../../native/kernel/', import.meta.url));

/**
 * Microseconds from a write of the governance page to the moment at which a reader in another process knows, both by
 * CLOCK_BOOTTIME: the writer's stamp is in the page, and the reader (native/kernel/reader) takes its own behind the read.
 *
 * @param pollUs between two looks of the reader; 0: it looks without a pause
 */
export function pageToReader(pollUs: number): Contender {
  return {
    name: 'ours',
    async start() {
      await using stack = new AsyncDisposableStack();
      const folder = await mkdtemp(join(tmpdir(), 'shs-bench-page-'));
      stack.defer(() => rm(folder, { recursive: true, force: true }));
      const [path, program] = [join(folder, 'page'), join(folder, 'reader')];
      await run('gcc', ['-O2', '-I', `${KERNEL}include`, '-o', program, `${KERNEL}reader/reader.c`]);
      const page = openGovernancePage(path);
      // A worker of a data plane has a core to itself; so has this one, whatever else runs on the machine.
      const reader = stack.use(start('chrt', ['--fifo', '1', program, path, String(pollUs)]));
      await reader.line(/^level 1 epoch 0 /);
      const owned = stack.move();
      let epoch = 0n;
      return {
        async sample() {
          epoch += 1n;
          if (epoch % 2n === 0n) page.write({ level: 5, epoch, rules: 'standard' });
          else page.write({ level: 2, epoch, rules: 'critical-only' });
          const line = await reader.line(new RegExp(`^level [25] epoch ${epoch} `));
          return Number(line.split(' ').at(-1)) / 1000;
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
