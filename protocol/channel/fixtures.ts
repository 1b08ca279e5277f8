/** What the tests of the channel share: a small channel, a pair of them, and the emptying of both. */
import { reasonOf } from '../errors.ts';
import { Channel } from './channel.ts';
import type { ChannelEvent } from './events.ts';
import type { Frame } from './frame.ts';

export const HOST = { prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 32 }, protocol: 6, port: 22 };
export const WINDOW = 1_000;
export const PING_MS = 1_000;

interface Overrides {
  readonly windowBytes?: number;
  readonly sendBufferBytes?: number;
  readonly carriesPackets?: boolean;
}

export function channel(role: 'initiator' | 'responder', overrides: Overrides = {}): Channel {
  return new Channel({ role, pingMs: PING_MS, windowBytes: WINDOW, maxStreams: 4, ...overrides }, 0);
}

export function pair(overrides: Overrides = {}): { us: Channel; peer: Channel; exchange: () => void } {
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

export function openAccepted(us: Channel, peer: Channel, exchange: () => void): number {
  const stream = us.open(HOST);
  exchange();
  peer.accept(stream);
  exchange();
  events(us);
  events(peer);
  return stream;
}

export function drained(from: Channel, now = 0): Frame[] {
  const frames: Frame[] = [];
  for (let frame = from.pull(now, 65_536); frame !== undefined; frame = from.pull(now, 65_536)) frames.push(frame);
  return frames;
}

export function events(of: Channel): ChannelEvent[] {
  const all: ChannelEvent[] = [];
  for (let event = of.poll(); event !== undefined; event = of.poll()) all.push(event);
  return all;
}

export function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

export function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
