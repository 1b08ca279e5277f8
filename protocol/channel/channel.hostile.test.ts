/** A peer that keeps to the framing and to nothing else. */
import { describe, expect, it } from 'vitest';
import { MAX_FINAL_FRAMES } from './channel.ts';
import { bytes, channel, drained, events, HOST, WINDOW } from './fixtures.ts';
import type { Frame } from './frame.ts';

describe('a hostile peer', () => {
  const data = (stream: number, length = 1): Frame => ({ type: 'STREAM_DATA', stream, data: bytes(length, 1) });
  const open = (stream: number, window = 10): Frame => ({ type: 'STREAM_OPEN', stream, target: HOST, window });
  const finish = (stream: number): Frame => ({ type: 'STREAM_CLOSE', stream, reason: undefined });
  const reset = (stream: number): Frame => ({ type: 'STREAM_CLOSE', stream, reason: 'CLOSED' });
  const window = (stream: number, credit: number): Frame => ({ type: 'STREAM_WINDOW', stream, credit });
  const drain: Frame = { type: 'DRAIN', reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: 9 };

  it.each<readonly [string, readonly Frame[], string]>([
    ['sends data on a stream that was never opened', [data(2)], 'UNEXPECTED_RECORD'],
    ['sends data before the stream was accepted', [open(2), data(2)], 'WINDOW_EXCEEDED'],
    ['opens a stream under our parity', [open(1)], 'UNEXPECTED_RECORD'],
    ['opens a stream twice', [open(2), open(2)], 'UNEXPECTED_RECORD'],
    ['opens a lower number after a higher', [open(8), open(6)], 'UNEXPECTED_RECORD'],
    ['opens a number again after its end', [open(2), reset(2), open(2)], 'UNEXPECTED_RECORD'],
    ['opens more than it may', [2, 4, 6, 8, 10].map((id) => open(id)), 'STREAM_LIMIT'],
    ['sends data behind its end', [open(2), finish(2), data(2)], 'UNEXPECTED_RECORD'],
    ['sends data behind its reset', [open(2), reset(2), data(2)], 'UNEXPECTED_RECORD'],
    ['ends a stream twice', [open(2), finish(2), finish(2)], 'UNEXPECTED_RECORD'],
    ['resets a stream twice', [open(2), reset(2), reset(2)], 'UNEXPECTED_RECORD'],
    ['credits a stream of the future', [window(4, 1)], 'UNEXPECTED_RECORD'],
    ['overflows our credit counter', [open(2, 2 ** 31 - 1), window(2, 1)], 'WINDOW_EXCEEDED'],
    ['opens with a window that overflows', [open(2, 2 ** 32 - 1)], 'WINDOW_EXCEEDED'],
    ['says DRAINED without a drain', [{ type: 'DRAINED' }], 'UNEXPECTED_RECORD'],
    ['opens a stream after its own DRAIN', [open(2), drain, open(4)], 'UNEXPECTED_RECORD'],
    ['goes on with streams after DRAINED', [open(2), drain, { type: 'DRAINED' }, data(2)], 'UNEXPECTED_RECORD'],
    ['answers a ping that was never sent', [{ type: 'PONG', opaque: 1n }], 'UNEXPECTED_RECORD'],
    ['answers ping 0', [{ type: 'PONG', opaque: 0n }], 'UNEXPECTED_RECORD'],
    ['grants us what we did not ask for', [{ type: 'DENY', reason: 'CLOSED' }], 'UNEXPECTED_RECORD'],
    ['sends a packet in a session that carries none', [{ type: 'PACKET', packet: bytes(1, 1) }], 'UNEXPECTED_RECORD'],
    ['starts a re-attestation as responder', [{ type: 'REATTEST', record: bytes(1, 1) }], 'UNEXPECTED_RECORD'],
  ])('that %s is closed', (_name, frames, reason) => {
    const us = channel('initiator');
    for (const frame of frames) us.receive(0, frame);
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', by: 'us', reason });
    expect(drained(us)).toEqual([{ type: 'CLOSE', reason }]);
    expect(us.isFinished).toBe(true);
  });

  it('that grants to a responder is closed', () => {
    const us = channel('responder');
    us.send({ type: 'REATTEST', record: bytes(1, 1) });
    us.receive(0, { type: 'DENY', reason: 'CLOSED' });
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'UNEXPECTED_RECORD' });
  });

  it('that sends one byte more than the window is closed', () => {
    const us = channel('initiator');
    us.receive(0, open(2));
    us.accept(2);
    drained(us);
    us.receive(0, data(2, WINDOW));
    expect(us.phase).toBe('open');
    us.receive(0, data(2, 1));
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'WINDOW_EXCEEDED' });
  });

  it('that sends undecodable bytes is closed', () => {
    const us = channel('initiator');
    us.receiveBytes(0, Uint8Array.of(99));
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'UNEXPECTED_RECORD' });
  });

  it('cannot move a closed channel', () => {
    const us = channel('initiator');
    us.close('CLOSED');
    drained(us);
    events(us);
    us.receiveBytes(0, Uint8Array.of(99));
    for (const frame of [open(2), drain, { type: 'PING', opaque: 1n } as const]) us.receive(0, frame);
    us.handleTimeout(1e9);
    us.send({ type: 'POSTURE', level: 5, epoch: 1n });
    expect([events(us), drained(us), us.deadline]).toEqual([[], [], undefined]);
  });

  it('that opens and resets in a loop to make us dial is closed', () => {
    const us = channel('initiator');
    let opened = 0;
    for (let id = 2; us.phase === 'open' && id < 10_000; id += 2) {
      us.receive(0, open(id));
      us.receive(0, reset(id));
      drained(us);
      opened += events(us).filter(({ type }) => type === 'stream-opened').length;
    }
    expect(us.phase).toBe('closed');
    expect(opened).toBeLessThanOrEqual(257);
  });

  it('that opens, finishes and resets in a loop is closed as well', () => {
    const us = channel('initiator');
    for (let id = 2; us.phase === 'open' && id < 10_000; id += 2) {
      for (const frame of [open(id), finish(id), reset(id)]) us.receive(0, frame);
      const told = events(us).map(({ type }) => type);
      if (us.phase === 'open') expect(told, 'or the dial would outlive the stream').toContain('stream-closed');
      drained(us);
    }
    expect(us.phase).toBe('closed');
  });

  it('that floods pings while it does not read gets one answer', () => {
    const us = channel('initiator');
    for (let i = 1n; i <= 10_000n; i++) us.receive(0, { type: 'PING', opaque: i });
    expect(drained(us)).toEqual([{ type: 'PONG', opaque: 10_000n }]);
  });

  it('that asks for answers and does not read them is closed, not kept', () => {
    const us = channel('responder');
    for (let i = 0; i < 65; i++) us.send({ type: 'REATTEST', record: bytes(60_000, 1) });
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'OVERLOADED' });
    expect(drained(us)).toEqual([{ type: 'CLOSE', reason: 'OVERLOADED' }]);
  });

  it('that has us drain again and again and reads none leaves last words of a bounded number', () => {
    const lengths = [1, 63, 64, 65, 200].map((drains) => {
      // Its stream stays open, so nothing settles the drains.
      const us = channel('initiator');
      us.receive(0, open(2));
      us.accept(2);
      drained(us);
      for (let i = 0; i < drains; i++)
        us.drain(0, { reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: 9 });
      us.close('CLOSED');
      return us.unsent.length;
    });
    expect(lengths.slice(0, 3)).toEqual([2, 64, MAX_FINAL_FRAMES]);
    expect(Math.max(...lengths)).toBe(MAX_FINAL_FRAMES);
  });

  it('that finishes streams nobody reads is refused more before they pile up', () => {
    const us = channel('initiator');
    for (let id = 2; id <= 80; id += 2) {
      us.receive(0, open(id));
      us.accept(id);
      us.finish(id);
      drained(us);
      const isAccepted = events(us).some(({ type }) => type === 'stream-opened');
      if (isAccepted) us.receive(0, data(id, WINDOW));
      us.receive(0, isAccepted ? finish(id) : reset(id));
    }
    expect(us.phase).toBe('open');
    expect(us.retainedBytes).toBe(12 * WINDOW);
  });

  it('that sends one byte a frame costs little more than its bytes', () => {
    const us = channel('initiator', { windowBytes: 262_144 });
    us.receive(0, open(2));
    us.accept(2);
    drained(us);
    for (let i = 0; i < 262_144; i++) us.receive(0, data(2));
    let pieces = 0;
    while (us.read(2, 65_536) !== undefined) pieces += 1;
    expect(pieces).toBeLessThan(40);
  });
});
