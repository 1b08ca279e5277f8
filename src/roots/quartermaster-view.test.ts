import { expect, test } from 'vitest';
import type { ForwarderStatus } from '../quartermaster/index.ts';
import { quartermasterFindings, quartermasterView } from './quartermaster-view.ts';

const STATUS: ForwarderStatus = {
  state: 'waiting',
  acknowledged: 900,
  behind: 0,
  forgotten: 0,
  problem: undefined,
  awaySinceMs: undefined,
};
const SPOOL = { usedBytes: 200_000, entries: 900, leftOut: 100 };

test('a Quartermaster that has all of it is well', () => {
  const view = quartermasterView({ place: 'embedded', status: STATUS }, SPOOL);
  expect(view).toMatchObject({ place: 'embedded', acknowledged: 900, behind: 0, behindBytes: 0, problem: '' });
  expect(quartermasterFindings(view)).toMatchObject([{ name: 'quartermaster', state: 'ok' }]);
});

test('one that is away is told with since when, and how much waits for it', () => {
  const status = { ...STATUS, state: 'connecting', behind: 10, problem: 'no route', awaySinceMs: 5 } as const;
  const view = quartermasterView({ place: 'remote', status }, SPOOL);
  expect(view).toMatchObject({ state: 'connecting', behind: 10, behindBytes: 2_000, awaySinceMs: 5 });
  expect(quartermasterFindings(view)).toMatchObject([
    { state: 'warning', detail: expect.stringContaining('no route') },
  ]);
});

test('no evidence, no finding', () => {
  expect(quartermasterFindings(undefined)).toEqual([]);
});
