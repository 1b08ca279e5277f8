import { beforeEach, describe, expect, it, vi } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { LastWord, StreamTotals } from './ports.ts';
import { NO_STREAMS, type StreamsAtEnd, ToldTotals } from './stream-totals.ts';

const SESSION = 'a'.repeat(32);
const FEW: StreamTotals = { streams: 1, receivedBytes: 10n, sentBytes: 20n };
const MORE: StreamTotals = { streams: 2, receivedBytes: 30n, sentBytes: 40n };

let clock: SimulatedClock;
let told: ToldTotals;

/** What is said of it at its end; nothing yet: undefined. */
function atEnd(last?: LastWord, onSilent?: () => void, session = SESSION): { readonly said: StreamsAtEnd | undefined } {
  const end: { said: StreamsAtEnd | undefined } = { said: undefined };
  const once = (streams: StreamsAtEnd): void => {
    expect(end.said).toBeUndefined();
    end.said = streams;
  };
  told.atEnd(session, last, once, onSilent);
  return end;
}

beforeEach(() => {
  clock = new SimulatedClock();
  told = new ToldTotals(clock);
});

describe('what streams carried, at the end of a session', () => {
  it('is the terminator’s last word', () => {
    told.note(SESSION, FEW);
    expect(atEnd(MORE).said).toEqual({ ...MORE, isComplete: true });
    expect(clock.pending).toEqual([]);
  });

  it('of a terminator that died is what it told before, at least; of one that told nothing, nothing', () => {
    told.note(SESSION, FEW);
    told.gone();
    expect(atEnd().said).toEqual({ ...FEW, isComplete: false });
    expect(atEnd().said).toEqual({ ...NO_STREAMS, isComplete: false });
  });

  it('of one that the enforcer ended waits for the terminator’s word', () => {
    const end = atEnd();
    expect(end.said).toBeUndefined();
    expect(told.awaits(SESSION)).toBe(true);
    told.last(SESSION, MORE);
    expect(end.said).toEqual({ ...MORE, isComplete: true });
    expect(told.awaits(SESSION)).toBe(false);
    expect(clock.pending).toEqual([]);
  });

  it('attack: a terminator that goes on counting has not said its last word, and is told to end', async () => {
    const silent = vi.fn();
    const end = atEnd(undefined, silent);
    await clock.advance(2_000);
    told.note(SESSION, FEW);
    expect(told.awaits(SESSION)).toBe(true);
    await clock.advance(3_000);
    expect(end.said).toEqual({ ...FEW, isComplete: false });
    expect(silent).toHaveBeenCalledTimes(1);
  });

  it('waits five seconds for one that hangs, which is told again then, and not for one that dies', async () => {
    const silent = vi.fn();
    told.note(SESSION, FEW);
    const hangs = atEnd(undefined, silent);
    await clock.advance(4_999);
    expect(silent).not.toHaveBeenCalled();
    expect(hangs.said).toBeUndefined();
    await clock.advance(1);
    expect(hangs.said).toEqual({ ...FEW, isComplete: false });
    expect(silent).toHaveBeenCalledTimes(1);
    const speaks = atEnd(undefined, silent);
    told.last(SESSION, MORE);
    expect(speaks.said).toBeDefined();
    const dies = atEnd(undefined, silent);
    told.gone();
    expect(dies.said).toEqual({ ...NO_STREAMS, isComplete: false });
    await clock.advance(60_000);
    expect(silent).toHaveBeenCalledTimes(1);
    expect(clock.pending).toEqual([]);
  });

  it('each waits its own five seconds, however many, with one timer for all', async () => {
    const silent: number[] = [];
    const ends: ReturnType<typeof atEnd>[] = [];
    for (let i = 0; i < 4; i += 1) {
      ends.push(atEnd(undefined, () => silent.push(i), String(i)));
      await clock.advance(1_000);
    }
    expect(clock.pending).toHaveLength(1);
    told.last('1', MORE);
    await clock.advance(1_000);
    expect(silent).toEqual([0]);
    await clock.advance(1_000);
    expect(silent).toEqual([0]);
    await clock.advance(1_999);
    expect(silent).toEqual([0, 2]);
    await clock.advance(1);
    expect(silent).toEqual([0, 2, 3]);
    expect(ends.every(({ said }) => said !== undefined)).toBe(true);
    expect(clock.pending).toEqual([]);
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
