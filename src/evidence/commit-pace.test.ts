import { expect, test } from 'vitest';
import { CommitPace } from './commit-pace.ts';

test('the slowest commit is told for half a minute at least, and a minute at most', () => {
  let now = 0;
  const pace = new CommitPace({ monotonic: () => now });
  const commit = (ms: number) =>
    pace.time(() => {
      now += ms;
    });
  commit(2);
  commit(400);
  commit(3);
  expect(pace.slowestMs).toBe(400);
  now += 29_000;
  expect(pace.slowestMs).toBe(400);
  now += 29_000;
  expect(pace.slowestMs).toBe(400);
  now += 10_000;
  commit(5);
  now += 25_000;
  expect(pace.slowestMs).toBe(5);
  now += 70_000;
  expect(pace.slowestMs).toBe(0);
});

test('a commit that fails has taken its time, too', () => {
  let now = 0;
  const pace = new CommitPace({ monotonic: () => now });
  const failing = () => {
    now += 700;
    throw new Error('full');
  };
  expect(() => pace.time(failing)).toThrow('full');
  expect(pace.slowestMs).toBe(700);
});
