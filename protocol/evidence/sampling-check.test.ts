import { expect, test } from 'vitest';
import type { LogEntry } from './entry.ts';
import type { Finding } from './finding.ts';
import { sha256 } from './fixtures.ts';
import { commitToKey } from './sampling.ts';
import { SamplingCheck } from './sampling-check.ts';

const KEY = new Uint8Array(32).fill(7);
const committed = (day: number): LogEntry => ({
  kind: 'key-committed',
  day,
  commitment: commitToKey(sha256, day, KEY),
});
const revealed = (day: number): LogEntry => ({ kind: 'key-revealed', day, key: KEY });
const leftOut = (day: number, first: number): LogEntry => {
  return { kind: 'left-out', day, first, count: 2, root: new Uint8Array(32) };
};

test('of days from before a pruning only the order is judged', () => {
  expect(judged(true, [leftOut(4, 6), committed(6), leftOut(5, 8), revealed(4), revealed(5)])).toEqual([]);
  expect(judged(false, [leftOut(4, 0), committed(6), revealed(4)])).toHaveLength(2);
});

test.each<[string, readonly LogEntry[], string]>([
  ['a key that is committed to after its day was used', [leftOut(4, 6), committed(4)], 'which was used before'],
  ['records that are left out when the key is known', [revealed(4), leftOut(4, 6)], 'after its key was known'],
  ['a key that is revealed twice', [revealed(4), revealed(4)], 'a second time'],
  ['a day that what is left should have committed to', [committed(6), leftOut(7, 6)], 'never committed to'],
  ['a number that is in no batch', [leftOut(4, 6), leftOut(5, 9)], 'in no batch'],
])('attack: after a pruning, %s', (_, entries, why) => {
  expect(judged(true, entries)).toEqual([expect.objectContaining({ why: expect.stringContaining(why) })]);
});

function judged(isPruned: boolean, entries: readonly LogEntry[]): Finding[] {
  const findings: Finding[] = [];
  const check = new SamplingCheck(sha256, isPruned, (finding) => findings.push(finding));
  for (const [index, entry] of entries.entries()) check.entry(index, entry);
  return findings;
}
