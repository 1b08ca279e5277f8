import { beforeEach, expect, test } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { EndsInTurn } from './ends-in-turn.ts';

let clock: SimulatedClock;
/** How long the disk takes for one. */
let commitMs: number;
let committed: number[];
let changingSinceMs: number | undefined;
let ends: EndsInTurn<number>;

beforeEach(() => {
  let spentMs = 0;
  clock = new SimulatedClock();
  commitMs = 0;
  committed = [];
  changingSinceMs = undefined;
  ends = new EndsInTurn<number>(
    { monotonic: () => clock.monotonic() + spentMs, after: (delayMs, action) => clock.after(delayMs, action) },
    (end) => {
      committed.push(end);
      spentMs += commitMs;
    },
    () => changingSinceMs,
  );
});

const take = (first: number, count: number): void => {
  for (let end = first; end < first + count; end += 1) ends.take(end);
};
const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, end) => end);

test('sessions that a level ends all at once leave turns between their syncs, and keep their order', async () => {
  commitMs = 2;
  take(0, 20);
  // Three syncs are more than the share of one turn.
  expect(committed).toEqual(upTo(3));
  const turns: number[] = [];
  const turn = (): void => {
    turns.push(committed.length);
    if (committed.length < 20) clock.after(0, turn);
  };
  turn();
  await clock.advance(0);
  expect(turns).toEqual([3, 6, 9, 12, 15, 18, 20]);
  expect(committed).toEqual(upTo(20));
  await clock.advance(10);
  expect(clock.pending).toEqual([]);
});

test('ends wait until the change is through that ended the sessions', async () => {
  changingSinceMs = clock.monotonic();
  take(0, 4);
  await clock.advance(4_000);
  expect(committed).toEqual([]);
  changingSinceMs = undefined;
  await clock.advance(5);
  expect(committed).toEqual(upTo(4));
  expect(clock.pending).toEqual([]);
});

test('ends wait no longer than the overlay has for a change, though one may hang; the next change is one of its own', async () => {
  changingSinceMs = clock.monotonic();
  take(0, 1);
  await clock.advance(4_999);
  expect(committed).toEqual([]);
  await clock.advance(6);
  take(1, 1);
  expect(committed).toEqual(upTo(2));
  changingSinceMs = undefined;
  await clock.advance(60_000);
  changingSinceMs = clock.monotonic();
  take(2, 1);
  expect(committed).toEqual(upTo(2));
});

test('all that wait are committed when it is flushed, during a change or behind a slow disk', async () => {
  commitMs = 100;
  take(0, 5);
  expect(committed).toEqual(upTo(1));
  ends.flush();
  expect(committed).toEqual(upTo(5));
  await clock.advance(0);
  changingSinceMs = clock.monotonic();
  take(5, 2);
  ends.flush();
  expect(committed).toEqual(upTo(7));
  expect(clock.pending).toEqual([]);
});
