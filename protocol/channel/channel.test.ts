import { describe, expect, it } from 'vitest';
import { bytes, drained, events, HOST, openAccepted, PING_MS, pair, reasonThrownBy, WINDOW } from './fixtures.ts';

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

  it('keeps what has not left when its writer uses the bytes again', () => {
    const { us, peer, exchange } = pair({ windowBytes: 8_192 });
    const stream = us.open(HOST);
    const source = bytes(4_096, 1);
    us.write(stream, source);
    us.ownUnsent(stream);
    source.fill(2);
    exchange();
    peer.accept(stream);
    exchange();
    expect(peer.read(stream)).toEqual(bytes(4_096, 1));
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
