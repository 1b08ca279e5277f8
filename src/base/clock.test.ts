import { expect, test } from 'vitest';
import { inTime, withDeadline } from './clock.ts';
import { SimulatedClock } from './simulated-clock.ts';

const NEVER = new Promise<never>(() => undefined);

test('what has a deadline is told when it is over, and not before', async () => {
  const clock = new SimulatedClock();
  let given: AbortSignal | undefined;
  void withDeadline(clock, 100, async (signal) => {
    given = signal;
    await NEVER;
  });
  await clock.advance(99);
  expect(given?.aborted).toBe(false);
  await clock.advance(1);
  expect(given?.aborted).toBe(true);
});

test.each<[string, () => Promise<string>]>([
  ['comes in time', async () => 'done'],
  ['fails in time', async () => Promise.reject(new Error('failed'))],
])('what %s is told nothing afterwards, and leaves no timer', async (_how, action) => {
  const clock = new SimulatedClock();
  let given: AbortSignal | undefined;
  const end = withDeadline(clock, 100, (signal) => {
    given = signal;
    return action();
  });
  expect(await end.catch((error: Error) => error.message)).toMatch(/done|failed/);
  await clock.advance(1_000);
  expect(given?.aborted).toBe(false);
});

test('what does not come in time is late, and what comes then is heard by nobody', async () => {
  const clock = new SimulatedClock();
  const late = Promise.withResolvers<string>();
  const end = inTime(clock, late.promise, 100, () => new Error('late')).catch((error: Error) => error.message);
  await clock.advance(100);
  late.reject(new Error('too late'));
  expect(await end).toBe('late');
});
