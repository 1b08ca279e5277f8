import { expect, test, vi } from 'vitest';
import { RunRecord } from './record.ts';
import type { Report } from './report.ts';

const BOOT: Report = { kind: 'boot', kernel: '6.1.0', boots: 1 };
const SUITES: readonly Report[] = [
  { kind: 'begin', part: 'suites' },
  { kind: 'end', part: 'suites', seconds: 1, tally: { passed: 3, failed: [], skipped: [] } },
];
const DONE: Report = { kind: 'done' };

test('a run that is done is what its parts were', () => {
  expect(recorded([BOOT, ...SUITES, DONE]).tally(undefined)).toEqual({ passed: 3, failed: [], skipped: [] });
});

test('a machine that goes off before it is done failed, whatever has passed by then', () => {
  expect(recorded([BOOT, ...SUITES]).tally(undefined)).toMatchObject({
    passed: 3,
    failed: [{ why: 'went off between parts, before everything had run' }],
  });
  expect(recorded([BOOT, ...SUITES.slice(0, 1)]).tally(undefined).failed[0]?.why).toContain('during suites');
  expect(
    recorded([])
      .tally('does not start: ENOENT')
      .failed.map(({ why }) => why),
  ).toEqual(['does not start: ENOENT', 'went off during start, before everything had run']);
});

test('a line that was cut is a failure, not a gap', () => {
  const record = recorded([BOOT, ...SUITES, DONE]);
  record.take('{"kind":"end","part":"suspend","seco');
  expect(record.tally(undefined).failed).toHaveLength(1);
});

function recorded(reports: readonly Report[]): RunRecord {
  vi.spyOn(console, 'log').mockReturnValue(undefined);
  const record = new RunRecord();
  for (const report of reports) record.take(JSON.stringify(report));
  return record;
}
