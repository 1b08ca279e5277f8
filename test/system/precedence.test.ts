/** Precedence at the cores as the kernel gives it, to the thread and to what it starts. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { run } from '../support/processes.ts';

const CHILD = fileURLToPath(new URL('children/precedence.child.ts', import.meta.url));
const UNPRIVILEGED = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs'];

const said = async (...command: readonly string[]): Promise<unknown> => {
  const [first = '', ...rest] = [...command, process.execPath, CHILD];
  return JSON.parse((await run(first, rest)).stdout);
};

const HAD = { before: 0, isHad: true, meanwhile: { own: -10, without: 0, inherited: -10 }, after: 0 };

test('root has it, gives it back, and what is started at the ordinary priority stays there', async () => {
  expect(await said()).toEqual(HAD);
});

test('so has a process without any capability whose limit on nice values allows it, as the systemd unit’s does', async () => {
  expect(await said('prlimit', '--nice=30', ...UNPRIVILEGED)).toEqual(HAD);
});

test('without either there is none, and nothing is changed', async () => {
  expect(await said('prlimit', '--nice=0', ...UNPRIVILEGED)).toEqual({ before: 0, isHad: false });
});
