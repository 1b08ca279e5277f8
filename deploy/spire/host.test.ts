import { expect, test } from 'vitest';
import { SteppedClock } from '../../certs-dev/testing.ts';
import { HostWatch } from './host.ts';

test('the end of the host is noticed once, within a second, and a change of anything else is not', () => {
  const clock = new SteppedClock();
  let parent = 1;
  let ends = 0;
  using _watch = new HostWatch({ clock, parentOf: () => parent, gone: () => (ends += 1) });
  clock.advance(3600_000);
  expect(ends).toBe(0);
  parent = 7;
  clock.advance(1000);
  clock.advance(3600_000);
  expect(ends).toBe(1);
});

test('a watch that was disposed says nothing', () => {
  const clock = new SteppedClock();
  let parent = 1;
  const watch = new HostWatch({ clock, parentOf: () => parent, gone: () => expect.unreachable() });
  parent = 7;
  watch[Symbol.dispose]();
  clock.advance(1000);
});
