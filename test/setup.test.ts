import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { run } from './support/processes.ts';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));

test('the set-up finds nothing to do after itself, from any folder, and leaves stdout to the command that follows', async () => {
  const setup = () => run('sh', [`${REPOSITORY}deploy/setup.sh`], { cwd: '/', timeoutMs: 600_000 });
  await setup();
  const again = await setup();
  expect(again.stdout).toBe('');
  expect(again.stderr).toMatch(/^setup: nothing to do/m);
}, 1_200_000);
