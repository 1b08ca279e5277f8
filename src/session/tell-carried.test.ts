import { expect, it } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { SessionId, StreamTotals } from '../enforcer/ports.ts';
import { tellCarried } from './tell-carried.ts';

it('tells what streams carried of the sessions in which that changed, every five seconds, until it is over', async () => {
  const clock = new SimulatedClock();
  const sessions = new Map<SessionId, StreamTotals>([
    ['busy', { streams: 1, receivedBytes: 1n, sentBytes: 0n }],
    ['quiet', { streams: 0, receivedBytes: 0n, sentBytes: 0n }],
  ]);
  const told: (readonly SessionId[])[] = [];
  const registry = {
    get all() {
      return [...sessions].map(([id, totals]) => ({ id, streams: { totals } }));
    },
  };
  const telling = tellCarried({ clock, registry, enforcer: { carried: (news) => told.push([...news.keys()]) } });
  await clock.advance(5_000);
  await clock.advance(5_000);
  sessions.set('busy', { streams: 1, receivedBytes: 2n, sentBytes: 0n });
  sessions.set('new', { streams: 1, receivedBytes: 0n, sentBytes: 0n });
  await clock.advance(5_000);
  expect(told).toEqual([['busy'], ['busy', 'new']]);
  telling[Symbol.dispose]();
  sessions.set('busy', { streams: 2, receivedBytes: 3n, sentBytes: 0n });
  await clock.advance(60_000);
  expect(told).toHaveLength(2);
});
