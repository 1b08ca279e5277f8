/** Packets of a tunnel in its session: one each, in order, or lost; never in the way of what must arrive. */
import { describe, expect, it } from 'vitest';
import { bytes, channel, drained, events, openAccepted, pair } from './fixtures.ts';
import { MAX_PACKET_BYTES } from './frame.ts';

const carried = { carriesPackets: true } as const;

describe('a carried packet', () => {
  it('comes out as it went in, and in order', () => {
    const { us, peer, exchange } = pair(carried);
    for (const value of [1, 2, 3]) expect(us.sendPacket(bytes(10, value))).toBe(true);
    exchange();
    const packets = events(peer).flatMap((event) => (event.type === 'packet' ? [event.packet[0]] : []));
    expect(packets).toEqual([1, 2, 3]);
  });

  it('waits behind what the session has to say, and before stream data', () => {
    const { us, peer, exchange } = pair(carried);
    const stream = openAccepted(us, peer, exchange);
    us.write(stream, bytes(10, 1));
    us.sendPacket(bytes(10, 2));
    us.send({ type: 'POSTURE', level: 3, epoch: 1n });
    expect(drained(us).map(({ type }) => type)).toEqual(['POSTURE', 'PACKET', 'STREAM_DATA']);
  });

  it('is dropped where 256 wait already: a peer that does not read makes us hold no more', () => {
    const us = channel('initiator', carried);
    const taken = Array.from({ length: 300 }, () => us.sendPacket(bytes(1, 1)));
    expect(taken.filter(Boolean)).toHaveLength(256);
    expect(drained(us)).toHaveLength(256);
    expect(us.sendPacket(bytes(1, 1))).toBe(true);
  });

  it('is dropped when it is empty, too long, or for a session that carries none or is over', () => {
    const us = channel('initiator', carried);
    expect([us.sendPacket(bytes(0, 1)), us.sendPacket(bytes(MAX_PACKET_BYTES + 1, 1))]).toEqual([false, false]);
    expect(channel('initiator').sendPacket(bytes(1, 1))).toBe(false);
    us.sendPacket(bytes(1, 1));
    us.close('CLOSED');
    expect(us.sendPacket(bytes(1, 1))).toBe(false);
    expect(drained(us).map(({ type }) => type)).toEqual(['CLOSE']);
  });

  it('still passes while the session drains', () => {
    const { us, peer, exchange } = pair(carried);
    openAccepted(us, peer, exchange);
    peer.drain(0, { reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: 1_000 });
    exchange();
    us.sendPacket(bytes(1, 7));
    exchange();
    expect(events(peer).filter(({ type }) => type === 'packet')).toHaveLength(1);
  });
});
