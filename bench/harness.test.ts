import { expect, test } from 'vitest';
import { type Contender, measure, median } from './harness.ts';

test('contenders take turns, each is warmed up once, and the warm-up does not count', async () => {
  const log: string[] = [];
  const ours = contender('ours', [900, 1, 3, 2], log);
  const peer = contender('peer', [900, 4, 4, 40], log);
  const report = await measure({ bench: 'b', unit: 'us', ours, peers: [peer] }, 3);
  expect(log.join(' ')).toBe('ours peer ours peer ours peer ours peer -peer -ours');
  expect(report).toEqual({ bench: 'b', unit: 'us', ours: 2, peers: { peer: 4 }, ratios: { peer: 0.5 }, runs: 3 });
});

test('where each sample counts there are as many as it takes, and the worst is quoted', async () => {
  const figure = { bench: 'b', unit: 'ms', ours: contender('ours', [99, 1, 5, 2, 3], []), peers: [] };
  const report = await measure({ ...figure, bounded: { runs: 4 } }, 1);
  expect(report).toEqual({ bench: 'b', unit: 'ms', ours: 2.5, peers: {}, ratios: {}, runs: 4, worst: 5 });
});

test('a figure without a peer says so', async () => {
  const report = await measure({ bench: 'b', unit: 'ns', ours: contender('ours', [7, 7], []), peers: [] }, 1);
  expect(report).toEqual({ bench: 'b', unit: 'ns', ours: 7, peers: {}, ratios: {}, runs: 1 });
});

test('what was started is ended when a later contender does not start', async () => {
  const log: string[] = [];
  const broken: Contender = { name: 'broken', start: () => Promise.reject(new Error('no such program')) };
  const figure = { bench: 'b', unit: 'us', ours: contender('ours', [], log), peers: [broken] };
  await expect(measure(figure, 1)).rejects.toThrow('no such program');
  expect(log).toEqual(['-ours']);
});

test('the median of an even number of samples is the mean of the middle two', () => {
  expect(median([10, 1, 2, 3])).toBe(2.5);
  expect(() => median([])).toThrow();
});

function contender(name: string, values: readonly number[], log: string[]): Contender {
  const left = [...values];
  return {
    name,
    start: () =>
      Promise.resolve({
        sample() {
          log.push(name);
          return Promise.resolve(left.shift() ?? Number.NaN);
        },
        [Symbol.asyncDispose]() {
          log.push(`-${name}`);
          return Promise.resolve();
        },
      }),
  };
}
