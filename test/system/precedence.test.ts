/** Precedence at the cores as the kernel gives it, to all threads, and to what they start. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { run } from '../support/processes.ts';

const CHILD = fileURLToPath(new URL('children/precedence.child.ts', import.meta.url));

const said = async (...command: readonly string[]): Promise<unknown> => {
  const [first = '', ...rest] = [...command, process.execPath, CHILD];
  return JSON.parse((await run(first, rest)).stdout);
};

test('root has it, gives it back, and what is started at the ordinary priority stays there', async () => {
  const meanwhile = { own: [-10], without: 0, inherited: -10 };
  expect(await said()).toEqual({ before: [0], isHad: true, meanwhile, after: [0] });
});

test('without CAP_SYS_NICE and a limit that allows it there is none, and nothing is changed', async () => {
  const unprivileged = ['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs'];
  expect(await said('setpriv', ...unprivileged)).toEqual({ before: [0], isHad: false });
});
