import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AccordTimer } from '../../../protocol/posture/index.ts';
import { silentLogger } from '../../base/logger.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { PostureEngine } from '../engine.ts';
import type { KeptPosture } from '../kept.ts';
import { followTimers } from './accord-timers.ts';

const MINUTE = 60_000;
const NOON = Date.parse('2026-03-01T12:00:00Z');
const AT_NOON = 12 * 60 * MINUTE;
const LUNCH: AccordTimer = {
  name: 'lunch',
  level: 3,
  window: { kind: 'daily', from: AT_NOON + 15 * MINUTE, until: AT_NOON + 30 * MINUTE },
};
let clock: SimulatedClock;
let engine: PostureEngine;
let kept: KeptPosture | undefined;
let following: Disposable;

beforeEach(() => {
  clock = new SimulatedClock(NOON);
  kept = undefined;
  run();
});
afterEach(() => following[Symbol.dispose]());

describe('a daily timer', () => {
  test('holds its level from its time until its other time, and again on the next day', async () => {
    const levels: number[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      levels.push(engine.level);
      await clock.advance(10 * MINUTE);
    }
    await nextDay();
    levels.push(engine.level);
    await clock.advance(20 * MINUTE);
    expect([...levels, engine.level]).toEqual([5, 5, 3, 5, 5, 5, 3]);
  });

  test('is a source that says why and until when', async () => {
    await clock.advance(15 * MINUTE);
    const reason = "the accord's timer lunch";
    expect(engine.sources).toMatchObject([{ source: 'timer-lunch', level: 3, reason, governs: true }]);
    expect(engine.sources[0]?.expiresAtMs).toBe(NOON + 30 * MINUTE);
  });

  test('attack: a host clock set past its end loosens nothing; its own time does', async () => {
    await clock.advance(15 * MINUTE);
    clock.setWall(NOON + 5 * 60 * MINUTE);
    await clock.advance(14 * MINUTE);
    expect(engine.level).toBe(3);
    await clock.advance(2 * MINUTE);
    expect(engine.level).toBe(5);
  });

  test('a host clock set back by minutes in its window does not open for a moment before its end', async () => {
    await clock.advance(17 * MINUTE);
    const changes: number[] = [];
    using _ = engine.onChange(({ to }) => changes.push(to));
    clock.setWall(clock.now() - 90_003);
    await clock.advance(20 * MINUTE);
    expect(changes).toEqual([5]);
  });

  test('a host clock set ahead within its window does not end it sooner', async () => {
    await clock.advance(16 * MINUTE);
    clock.setWall(clock.now() + 10 * MINUTE);
    await clock.advance(13 * MINUTE);
    expect(engine.level).toBe(3);
  });

  test('a host clock set into its window tightens at once', async () => {
    clock.setWall(NOON + 20 * MINUTE);
    await clock.advance(MINUTE);
    expect(engine.level).toBe(3);
  });

  test('set aside, stays so for this window, over a restart too; the next one counts', async () => {
    await clock.advance(15 * MINUTE);
    await engine.setAside('timer-lunch');
    await clock.advance(MINUTE);
    expect(engine.level).toBe(5);
    following[Symbol.dispose]();
    run();
    await clock.advance(MINUTE);
    expect(engine.level).toBe(5);
    await nextDay();
    await clock.advance(15 * MINUTE);
    expect(engine.level).toBe(3);
  });
});

/** Noon again, without the hours between. */
async function nextDay(): Promise<void> {
  await clock.advance(30 * MINUTE);
  clock.setWall(NOON + 24 * 60 * MINUTE);
}

/** A run of the node on what the former one kept. */
function run(): void {
  const store = {
    save: async (posture: KeptPosture) => {
      kept = posture;
    },
  };
  engine = new PostureEngine({ clock, log: silentLogger, store, kept, initial: 5, firstEpoch: 1n });
  following = followTimers({
    clock,
    timers: [LUNCH],
    sources: () => engine.sources,
    state: (...said) => void engine.state(...said),
  });
}
