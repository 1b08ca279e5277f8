import { describe, expect, it } from 'vitest';
import { sleep } from './clock.ts';
import { SimulatedClock } from './simulated-clock.ts';

describe('a simulated clock', () => {
  it('calls timers in their order, each at its own time, also those set on the way', async () => {
    const clock = new SimulatedClock(1_000);
    const called: string[] = [];
    const note = (name: string): void => void called.push(`${name} at ${clock.monotonic()}, ${clock.now()}`);
    clock.after(30, () => note('late'));
    clock.after(10, () => {
      note('early');
      clock.after(5, () => note('nested'));
    });
    clock.after(10, () => note('second'));
    clock.after(20, () => note('cancelled')).cancel();
    await clock.advance(30);
    expect(called).toEqual(['early at 10, 1010', 'second at 10, 1010', 'nested at 15, 1015', 'late at 30, 1030']);
  });

  it('lets what a timer set off come to rest before the next one', async () => {
    const clock = new SimulatedClock();
    const woke: number[] = [];
    void (async () => {
      for (let i = 0; i < 3; i++) {
        await sleep(clock, 10);
        woke.push(clock.monotonic());
      }
    })();
    await clock.advance(25);
    expect(woke).toEqual([10, 20]);
    expect(clock.pending).toEqual([5]);
  });

  it('does not move monotonic time when the wall clock is set', async () => {
    const clock = new SimulatedClock(0);
    clock.setWall(5_000);
    await clock.advance(1);
    expect([clock.now(), clock.monotonic()]).toEqual([5_001, 1]);
  });
});
