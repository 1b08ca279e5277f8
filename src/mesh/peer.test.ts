import { beforeEach, describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { sleep } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { DialledPeer } from './peer.ts';

let clock: SimulatedClock;
let dialledAt: number[];
let posture: { level: PostureLevel; epoch: bigint };
let succeed: (() => string) | undefined;
let standing: Set<string>;
let held: boolean;
/** How long a try takes. */
let dialMs: number;

beforeEach(() => {
  clock = new SimulatedClock();
  dialledAt = [];
  posture = { level: 5, epoch: 1n };
  succeed = undefined;
  standing = new Set();
  held = false;
  dialMs = 0;
});

describe('dialling', () => {
  it.each([0, 0.5, 0.999])('waits twice as long after each failure up to 30 s, with jitter %d', async (jitter) => {
    await using _peer = started(() => jitter);
    await clock.advance(300_000);
    const waits = dialledAt.slice(1).map((at, i) => at - (dialledAt[i] ?? 0));
    const expected = waits.map((_, i) => Math.min(200 * 2 ** (i + 1), 30_000) * (0.5 + jitter / 2));
    for (const [i, wait] of waits.entries()) expect(wait).toBeCloseTo(expected[i] ?? 0, 3);
    expect(waits.length).toBeGreaterThan(10);
    expect(Math.max(...waits)).toBeLessThanOrEqual(30_000);
  });

  it('never comes in the same second as others: jitter spreads a whole half of the wait', async () => {
    const firsts = [];
    for (const jitter of [0, 0.25, 0.75]) {
      clock = new SimulatedClock();
      dialledAt = [];
      await using _peer = started(() => jitter);
      await clock.advance(60_000);
      firsts.push(dialledAt.slice(1, 4).map((at) => Math.round(at)));
    }
    expect(firsts).toEqual([
      [200, 600, 1_400],
      [250, 750, 1_750],
      [350, 1_050, 2_450],
    ]);
  });

  it('starts over with short waits after a success', async () => {
    await using peer = started(() => 0);
    await clock.advance(100_000);
    standing.add('one');
    succeed = () => 'one';
    await clock.advance(30_000);
    expect(peer.state.kind).toBe('connected');
    expect(peer.lastFailure).toBeUndefined();
    succeed = undefined;
    dialledAt = [];
    const endedAt = clock.monotonic();
    standing.delete('one');
    peer.ended('one');
    await clock.advance(1_000);
    expect(dialledAt.map((at) => at - endedAt)).toEqual([100, 300, 700]);
  });

  it('rests at lockdown, and goes on at once when it is nudged after', async () => {
    posture.level = 1;
    await using peer = started(() => 0);
    await clock.advance(100_000);
    expect(dialledAt).toEqual([]);
    posture.level = 5;
    peer.nudge();
    await clock.advance(0);
    expect(dialledAt).toEqual([100_000]);
  });

  it('that fails when it was nudged meanwhile is tried again soon, however long it would have waited', async () => {
    await using peer = started(() => 0);
    await clock.advance(100_000);
    dialMs = 1_000;
    const tries = dialledAt.length;
    while (dialledAt.length === tries) await clock.advance(100);
    peer.nudge();
    const [at = 0] = dialledAt.slice(-1);
    await clock.advance(1_200);
    expect(dialledAt.slice(-1)).toEqual([at + 1_100]);
  });

  it('is left alone while it is held, and dialled at once when it is released', async () => {
    held = true;
    await using peer = started(() => 0);
    await clock.advance(100_000);
    expect(dialledAt).toEqual([]);
    held = false;
    peer.nudge();
    await clock.advance(0);
    expect(dialledAt).toEqual([100_000]);
  });

  it('ends for good when stopped, whatever it waits for', async () => {
    const peer = started(() => 0);
    await clock.advance(10_000);
    await peer.stop();
    const before = dialledAt.length;
    await clock.advance(100_000);
    expect(dialledAt).toHaveLength(before);
    expect(clock.pending).toEqual([]);
  });

  it('a session that ended before it was noticed is dialled again', async () => {
    succeed = () => 'dead';
    await using peer = started(() => 0);
    await clock.advance(1_000);
    expect(dialledAt.length).toBeGreaterThan(5);
    expect(peer.lastFailure).toBeUndefined();
  });
});

function started(random: () => number): DialledPeer & AsyncDisposable {
  const peer = new DialledPeer({
    name: 'b',
    clock,
    log: silentLogger,
    posture,
    accord: ACCORD.accord,
    random,
    isHeld: () => held,
    dial: async (signal) => {
      dialledAt.push(clock.monotonic());
      if (dialMs > 0) await sleep(clock, dialMs, signal);
      if (succeed === undefined) throw new ShellstreamError('CONNECTION_LOST');
      return succeed();
    },
    stands: (session) => standing.has(session),
  });
  peer.start();
  return Object.assign(peer, { [Symbol.asyncDispose]: () => peer.stop() });
}
