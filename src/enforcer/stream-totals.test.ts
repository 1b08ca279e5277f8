import { beforeEach, describe, expect, it, vi } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { StreamTotals } from './ports.ts';
import { NO_STREAMS, ToldTotals } from './stream-totals.ts';

const SESSION = 'a'.repeat(32);
const FEW: StreamTotals = { streams: 1, receivedBytes: 10n, sentBytes: 20n };
const MORE: StreamTotals = { streams: 2, receivedBytes: 30n, sentBytes: 40n };

let clock: SimulatedClock;
let told: ToldTotals;

beforeEach(() => {
  clock = new SimulatedClock();
  told = new ToldTotals(clock);
});

describe('what streams carried, at the end of a session', () => {
  it('is the terminator’s last word', async () => {
    told.note(SESSION, FEW);
    expect(await told.atEnd(SESSION, MORE)).toEqual({ ...MORE, isComplete: true });
  });

  it('of a terminator that died is what it told before, at least; of one that told nothing, nothing', async () => {
    told.note(SESSION, FEW);
    told.gone();
    expect(await told.atEnd(SESSION, undefined)).toEqual({ ...FEW, isComplete: false });
    expect(await told.atEnd(SESSION, undefined)).toEqual({ ...NO_STREAMS, isComplete: false });
  });

  it('of one that the enforcer ended waits for the terminator’s word', async () => {
    const atEnd = told.atEnd(SESSION, undefined);
    expect(told.awaits(SESSION)).toBe(true);
    told.last(SESSION, MORE);
    expect(await atEnd).toEqual({ ...MORE, isComplete: true });
    expect(told.awaits(SESSION)).toBe(false);
  });

  it('attack: a terminator that goes on counting has not said its last word, and is told to end', async () => {
    const silent = vi.fn();
    const atEnd = told.atEnd(SESSION, undefined, silent);
    await clock.advance(2_000);
    told.note(SESSION, FEW);
    expect(told.awaits(SESSION)).toBe(true);
    await clock.advance(3_000);
    expect(await atEnd).toEqual({ ...FEW, isComplete: false });
    expect(silent).toHaveBeenCalledTimes(1);
  });

  it('waits five seconds for one that hangs, which is told again then, and not for one that dies', async () => {
    const silent = vi.fn();
    told.note(SESSION, FEW);
    const hangs = told.atEnd(SESSION, undefined, silent);
    await clock.advance(4_999);
    expect(silent).not.toHaveBeenCalled();
    await clock.advance(1);
    expect(await hangs).toEqual({ ...FEW, isComplete: false });
    expect(silent).toHaveBeenCalledTimes(1);
    const speaks = told.atEnd(SESSION, undefined, silent);
    told.last(SESSION, MORE);
    await speaks;
    const dies = told.atEnd(SESSION, undefined, silent);
    told.gone();
    expect(await dies).toEqual({ ...NO_STREAMS, isComplete: false });
    await clock.advance(60_000);
    expect(silent).toHaveBeenCalledTimes(1);
  });
});

describe('attack: a terminator takes its word back', () => {
  it.each([
    ['streams', { ...FEW, streams: 0 }],
    ['bytes received', { ...FEW, receivedBytes: 9n }],
    ['bytes sent', { ...MORE, sentBytes: 19n }],
  ])('%s become fewer', (_, less) => {
    told.note(SESSION, FEW);
    told.note(SESSION, FEW);
    expect(() => told.note(SESSION, less)).toThrow('MALFORMED');
  });
});
