/** A log that cannot be written must not end the gateway that writes it. */
import { describe, expect, it } from 'vitest';
import { logSink } from './log-sink.ts';
import { SimulatedClock } from './simulated-clock.ts';

/** A disk with so much room; `fail` is what a write without room throws. */
function disk(room: number, code = 'ENOSPC') {
  const state = { room, text: '', calls: 0 };
  const sink = logSink((bytes, offset) => {
    state.calls += 1;
    const taken = Math.min(state.room, bytes.length - offset);
    if (taken === 0) throw Object.assign(new Error(code), { code });
    state.room -= taken;
    state.text += Buffer.from(bytes.subarray(offset, offset + taken)).toString();
    return taken;
  }, new SimulatedClock());
  return { sink, state };
}

const LOST = (count: number): string =>
  `{"severity":"error","time":"2026-01-01T00:00:00.000Z","count":${count},"msg":"log lines lost"}\n`;

describe('a full disk', () => {
  it.each(['ENOSPC', 'EIO', 'EPIPE', 'EDQUOT', 'EBADF'])(
    '(%s) throws nothing, and what was lost is said by number',
    (code) => {
      const { sink, state } = disk(4, code);
      sink.write('one\n');
      sink.write('two\nthree\n');
      sink.write('four\n');
      expect(state.text).toBe('one\n');
      state.room = 1_000;
      sink.write('five\n');
      sink.write('six\n');
      expect(state.text).toBe(`one\n${LOST(3)}five\nsix\n`);
    },
  );

  it('in the middle of a line ends that line before the next one', () => {
    const { sink, state } = disk(6);
    sink.write('one\ntwo\n');
    state.room = 1_000;
    sink.write('three\n');
    expect(state.text).toBe(`one\ntw\n${LOST(1)}three\n`);
  });

  it('that has room for half of the word about it says the number again', () => {
    const { sink, state } = disk(0);
    sink.write('one\n');
    state.room = 10;
    sink.write('two\n');
    state.room = 1_000;
    sink.write('three\n');
    expect(state.text).toBe(`${LOST(1).slice(0, 10)}\n${LOST(2)}three\n`);
  });
});

describe('a reader that stands still', () => {
  it('is waited for once, and then costs one try a write', () => {
    const { sink, state } = disk(0, 'EAGAIN');
    sink.write('one\n');
    const { calls } = state;
    expect(calls).toBeGreaterThan(1);
    sink.write('two\n');
    expect(state.calls).toBe(calls + 1);
    state.room = 1_000;
    sink.write('three\n');
    expect(state.text).toBe(`${LOST(2)}three\n`);
  });
});
