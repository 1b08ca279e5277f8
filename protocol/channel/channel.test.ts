import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import { Channel } from './channel.ts';
import type { ChannelEvent } from './events.ts';
import type { Frame } from './frame.ts';

const HOST = { prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 32 }, protocol: 6, port: 22 };
const WINDOW = 1_000;
const PING_MS = 1_000;

describe('a stream', () => {
  it('is opened, accepted, carries bytes both ways and ends in two halves', () => {
    const { us, peer, exchange } = pair();
    const stream = us.open(HOST);
    exchange();
    expect(events(peer)).toEqual([{ type: 'stream-opened', stream, target: HOST }]);
    peer.accept(stream);
    exchange();
    expect(events(us)).toEqual([{ type: 'stream-accepted', stream }]);

    expect(us.write(stream, bytes(3, 1))).toBe(3);
    us.finish(stream);
    exchange();
    expect(events(peer)).toEqual([{ type: 'stream-readable', stream }]);
    expect(peer.read(stream)).toEqual(bytes(3, 1));
    expect(events(peer)).toEqual([{ type: 'stream-finished', stream }]);
    peer.consumed(stream, 3);

    peer.write(stream, bytes(2, 2));
    peer.finish(stream);
    exchange();
    expect(us.read(stream)).toEqual(bytes(2, 2));
    us.consumed(stream, 2);
    exchange();
    expect([us.streamCount, peer.streamCount]).toEqual([0, 0]);
    expect([us.phase, peer.phase]).toEqual(['open', 'open']);
  });

  it('sends nothing before the peer gave credit, and no more than it gave', () => {
    const { us, peer, exchange } = pair();
    const stream = us.open(HOST);
    us.write(stream, bytes(WINDOW, 1));
    exchange();
    expect(peer.retainedBytes).toBe(0);
    peer.accept(stream);
    exchange();
    expect(us.write(stream, bytes(WINDOW, 2))).toBe(WINDOW);
    exchange();
    expect(peer.retainedBytes).toBe(WINDOW);
  });

  it('gets new credit only for what the application has consumed, not for what it has read', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    us.write(stream, bytes(WINDOW, 1));
    exchange();
    us.write(stream, bytes(WINDOW, 2));
    while (peer.read(stream) !== undefined);
    exchange();
    expect(peer.read(stream)).toBeUndefined();
    peer.consumed(stream, WINDOW);
    exchange();
    expect(peer.read(stream)).toEqual(bytes(WINDOW, 2));
  });

  it('takes of a long write what it has room for and says when there is room again', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    expect(us.write(stream, bytes(2 * WINDOW, 1))).toBe(WINDOW);
    exchange();
    expect(events(us)).toEqual([{ type: 'stream-writable', stream }]);
  });

  it('that is reset frees both ends, with the reason seen by the peer', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    us.write(stream, bytes(10, 1));
    peer.reset(stream, 'TARGET_UNREACHABLE');
    exchange();
    expect(events(us)).toEqual([{ type: 'stream-closed', stream, reason: 'TARGET_UNREACHABLE' }]);
    expect([us.streamCount, peer.streamCount]).toEqual([0, 0]);
    expect(us.write(stream, bytes(1, 1)), 'dropped, so that no writer waits for ever').toBe(1);
  });

  it('that is released still delivers what was written, beyond the first window', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    us.write(stream, bytes(WINDOW, 1));
    exchange();
    us.write(stream, bytes(WINDOW, 2));
    us.release(stream);
    exchange();
    expect(peer.read(stream)).toEqual(bytes(WINDOW, 1));
    peer.consumed(stream, WINDOW);
    exchange();
    expect(peer.read(stream)).toEqual(bytes(WINDOW, 2));
    expect(events(peer).map(({ type }) => type)).not.toContain('stream-closed');
    peer.consumed(stream, WINDOW);
    expect(events(peer)).toEqual([{ type: 'stream-closed', stream, reason: 'CLOSED' }]);
    exchange();
    expect([us.streamCount, peer.streamCount]).toEqual([0, 0]);
  });

  it('that is released stops a peer that goes on sending', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    peer.write(stream, bytes(10, 1));
    us.release(stream);
    exchange();
    expect(events(peer)).toContainEqual({ type: 'stream-closed', stream, reason: 'CLOSED' });
    expect([us.streamCount, peer.streamCount, us.retainedBytes]).toEqual([0, 0, 0]);
  });

  it('reset before its OPEN left leaves no trace on the wire', () => {
    const { us } = pair();
    us.reset(us.open(HOST), 'CLOSED');
    expect(drained(us)).toEqual([]);
    expect(us.streamCount).toBe(0);
  });

  it('numbers are odd for the initiator, even for the responder, and never used again', () => {
    const { us, peer } = pair();
    const first = us.open(HOST);
    us.reset(first, 'CLOSED');
    expect([first, us.open(HOST), peer.open(HOST), peer.open(HOST)]).toEqual([1, 3, 2, 4]);
  });

  it('beyond the limit is not opened', () => {
    const { us } = pair();
    for (let i = 0; i < 4; i++) us.open(HOST);
    expect(reasonThrownBy(() => us.open(HOST))).toBe('STREAM_LIMIT');
  });
});

describe('sending', () => {
  it('goes round the streams, so that a busy one does not starve another', () => {
    const { us, peer, exchange } = pair({ windowBytes: 100_000, sendBufferBytes: 100_000 });
    const streams = [1, 2, 3].map(() => openAccepted(us, peer, exchange));
    for (const stream of streams) us.write(stream, bytes(90_000, 1));
    const order = drained(us).map((frame) => (frame.type === 'STREAM_DATA' ? frame.stream : frame.type));
    expect(order.slice(0, 6)).toEqual([...streams, ...streams]);
  });

  it('puts control before data and cuts data to the room there is', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    us.write(stream, bytes(500, 1));
    us.send({ type: 'POSTURE', level: 3, epoch: 1n });
    expect(us.pull(0, 105)?.type).toBe('POSTURE');
    expect(us.pull(0, 105)).toMatchObject({ type: 'STREAM_DATA', data: bytes(100, 1) });
    expect(us.pull(0, 5)).toBeUndefined();
    expect(us.pull(0, 0)).toBeUndefined();
  });

  it('keeps only the last posture that has not left', () => {
    const { us } = pair();
    for (const epoch of [1n, 2n, 3n]) us.send({ type: 'POSTURE', level: 3, epoch });
    expect(drained(us)).toEqual([{ type: 'POSTURE', level: 3, epoch: 3n }]);
  });
});

describe('a drain', () => {
  const drain = { reason: 'POSTURE_DRAIN', level: 3, epoch: 7n, deadlineMs: 4_000 } as const;

  it('lets what runs end and be read, then both ends say DRAINED and the asking one closes', () => {
    const { us, peer, exchange } = pair();
    const stream = openAccepted(us, peer, exchange);
    us.drain(0, drain);
    exchange();
    expect(events(peer)).toEqual([{ ...drain, type: 'drain' }]);
    expect(reasonThrownBy(() => peer.open(HOST))).toBe('POSTURE_DRAIN');
    expect(reasonThrownBy(() => us.open(HOST))).toBe('POSTURE_DRAIN');

    us.write(stream, bytes(5, 1));
    exchange();
    us.finish(stream);
    peer.finish(stream);
    exchange();
    expect([us.phase, peer.phase, peer.streamCount]).toEqual(['draining', 'draining', 0]);
    expect(peer.read(stream)).toEqual(bytes(5, 1));
    peer.consumed(stream, 5);
    exchange();
    expect(events(us).map(({ type }) => type)).toEqual(['stream-finished', 'drained', 'closed']);
    expect(events(peer).at(-1)).toMatchObject({ type: 'closed', by: 'peer', reason: 'POSTURE_DRAIN' });
  });

  it('ends the session at its deadline whatever still runs', () => {
    const { us, peer, exchange } = pair();
    openAccepted(us, peer, exchange);
    us.drain(0, { ...drain, deadlineMs: 500 });
    exchange();
    expect(us.deadline).toBe(500);
    us.handleTimeout(500);
    expect(us.phase).toBe('closed');
    exchange();
    expect(events(peer).at(-1)).toMatchObject({ type: 'closed', by: 'peer', reason: 'POSTURE_DRAIN' });
  });

  it('with deadline 0 sends DRAIN and CLOSE at once, and the posture before them', () => {
    const { us, peer, exchange } = pair();
    openAccepted(us, peer, exchange);
    us.send({ type: 'POSTURE', level: 1, epoch: 8n });
    us.drain(0, { reason: 'POSTURE_END', level: 1, epoch: 8n, deadlineMs: 0 });
    expect(drained(us).map(({ type }) => type)).toEqual(['POSTURE', 'DRAIN', 'CLOSE']);
    expect(us.isFinished).toBe(true);
  });

  it('that crosses with a STREAM_OPEN refuses the stream and blames nobody', () => {
    const { us, peer, exchange } = pair();
    const stream = us.open(HOST);
    const open = drained(us);
    peer.drain(0, drain);
    for (const frame of open) peer.receive(0, frame);
    exchange();
    expect(events(us)).toContainEqual({ type: 'stream-closed', stream, reason: 'POSTURE_DRAIN' });
    expect(events(peer).map(({ type }) => type)).toEqual(['drained', 'closed']);
  });

  it('asked for by both ends at once ends once', () => {
    const { us, peer, exchange } = pair();
    us.drain(0, drain);
    peer.drain(0, drain);
    exchange();
    expect(us.phase).toBe('closed');
    expect(peer.phase).toBe('closed');
    expect(events(us).filter(({ type }) => type === 'closed')).toHaveLength(1);
  });

  it('that comes again sooner moves the deadline, never later', () => {
    const { us, peer, exchange } = pair();
    openAccepted(us, peer, exchange);
    us.drain(0, drain);
    us.drain(0, { ...drain, reason: 'POSTURE_END', deadlineMs: 300 });
    us.drain(0, { ...drain, deadlineMs: 900 });
    expect(us.deadline).toBe(300);
    us.handleTimeout(300);
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'POSTURE_END' });
  });

  it('drops a stream that the peer has not heard of yet', () => {
    const { us } = pair();
    const stream = us.open(HOST);
    us.drain(0, drain);
    expect(drained(us).map(({ type }) => type)).toEqual(['DRAIN', 'DRAINED']);
    expect(events(us)).toEqual([{ type: 'stream-closed', stream, reason: 'POSTURE_DRAIN' }]);
  });
});

describe('liveness', () => {
  it('pings once a period and tells the round trip', () => {
    const { us, peer } = pair();
    us.handleTimeout(PING_MS);
    for (const frame of drained(us, PING_MS)) peer.receive(PING_MS, frame);
    for (const frame of drained(peer)) us.receive(PING_MS + 40, frame);
    expect(events(us)).toEqual([{ type: 'round-trip', ms: 40 }]);
  });

  it('ends a session whose peer was silent for three periods', () => {
    const { us } = pair();
    for (const now of [1_000, 2_000, 2_999]) us.handleTimeout(now);
    expect(us.phase).toBe('open');
    us.handleTimeout(3_000);
    expect(events(us)).toEqual([{ type: 'closed', by: 'us', reason: 'PEER_SILENT', detail: undefined }]);
  });

  it('takes any frame as a sign of life', () => {
    const { us } = pair();
    us.receive(2_500, { type: 'POSTURE', level: 4, epoch: 1n });
    us.handleTimeout(5_499);
    expect(us.phase).toBe('open');
  });

  it('with a new period does not condemn the peer for the past', () => {
    const { us } = pair();
    us.setPingPeriod(2_000, 100);
    us.handleTimeout(2_100);
    expect(us.phase).toBe('open');
    expect(us.deadline).toBe(2_200);
    us.handleTimeout(2_300);
    expect(us.phase).toBe('closed');
  });

  it('pings that could not leave are not sent in a row later', () => {
    const { us } = pair();
    us.handleTimeout(1_000);
    us.handleTimeout(2_000);
    expect(drained(us)).toEqual([{ type: 'PING', opaque: 1n }]);
  });
});

describe('re-attestation', () => {
  it('is answered by one grant or denial, to the initiator', () => {
    const { us, peer, exchange } = pair();
    us.send({ type: 'REATTEST', record: bytes(4, 1) });
    exchange();
    expect(events(peer)).toEqual([{ type: 'reattest', record: bytes(4, 1) }]);
    peer.send({ type: 'REATTEST', record: bytes(4, 2) });
    peer.send({ type: 'DENY', reason: 'POSTURE_TYPE_NOT_ALLOWED' });
    exchange();
    expect(events(us).map(({ type }) => type)).toEqual(['reattest', 'deny']);
    us.receive(0, { type: 'DENY', reason: 'CLOSED' });
    expect(events(us).at(-1)).toMatchObject({ type: 'closed', reason: 'UNEXPECTED_RECORD' });
  });
});

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

interface Overrides {
  readonly windowBytes?: number;
  readonly sendBufferBytes?: number;
}

function channel(role: 'initiator' | 'responder', overrides: Overrides = {}): Channel {
  return new Channel({ role, pingMs: PING_MS, windowBytes: WINDOW, maxStreams: 4, ...overrides }, 0);
}

function pair(overrides: Overrides = {}): { us: Channel; peer: Channel; exchange: () => void } {
  const us = channel('initiator', overrides);
  const peer = channel('responder', overrides);
  const exchange = (): void => {
    for (let moved = true; moved; ) {
      const there = drained(us);
      const back = drained(peer);
      for (const frame of there) peer.receive(0, frame);
      for (const frame of back) us.receive(0, frame);
      moved = there.length + back.length > 0;
    }
  };
  return { us, peer, exchange };
}

function openAccepted(us: Channel, peer: Channel, exchange: () => void): number {
  const stream = us.open(HOST);
  exchange();
  peer.accept(stream);
  exchange();
  events(us);
  events(peer);
  return stream;
}

function drained(from: Channel, now = 0): Frame[] {
  const frames: Frame[] = [];
  for (let frame = from.pull(now, 65_536); frame !== undefined; frame = from.pull(now, 65_536)) frames.push(frame);
  return frames;
}

function events(of: Channel): ChannelEvent[] {
  const all: ChannelEvent[] = [];
  for (let event = of.poll(); event !== undefined; event = of.poll()) all.push(event);
  return all;
}

function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
