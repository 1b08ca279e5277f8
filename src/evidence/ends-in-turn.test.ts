import { beforeEach, expect, test } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { EndsInTurn } from './ends-in-turn.ts';

let clock: SimulatedClock;
/** How long the disk takes for one. */
let commitMs: number;
let committed: number[];
let changingSinceMs: number | undefined;
let isReopening: boolean;
let ends: EndsInTurn<number>;

beforeEach(() => {
  let spentMs = 0;
  clock = new SimulatedClock();
  commitMs = 0;
  committed = [];
  changingSinceMs = undefined;
  isReopening = false;
  ends = new EndsInTurn<number>(
    { monotonic: () => clock.monotonic() + spentMs, after: (delayMs, action) => clock.after(delayMs, action) },
    (end) => {
      committed.push(end);
      spentMs += commitMs;
    },
    { changingSinceMs: () => changingSinceMs, isReopening: () => isReopening },
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

test('while the log is opened anew ends wait however long that takes, or all would be committed in the turn behind it', async () => {
  isReopening = true;
  changingSinceMs = clock.monotonic();
  take(0, 2);
  await clock.advance(6_000);
  expect(committed).toEqual([]);
  isReopening = false;
  await clock.advance(5);
  expect(committed).toEqual(upTo(2));
  expect(clock.pending).toEqual([]);
});

test.each([
  ['behind a slow disk', 100, undefined, 1],
  ['during a change', 0, 0, 0],
])('all that wait %s are committed when it closes, and what comes then at once', async (_, ms, since, before) => {
  commitMs = ms;
  changingSinceMs = since;
  take(0, 5);
  expect(committed).toEqual(upTo(before));
  ends.close();
  expect(committed).toEqual(upTo(5));
  take(5, 2);
  expect(committed).toEqual(upTo(7));
  expect(clock.pending).toEqual([]);
});
