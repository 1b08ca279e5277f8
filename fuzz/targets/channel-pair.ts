/** Two channels over a line that loses nothing: whatever their owners do, neither sees a fault of the other. */
import { Channel, type ChannelEvent, decodeFrame, encodeFrame, type Frame } from '../../protocol/channel/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { alike, holds } from '../target.ts';
import { GRANT, HOST } from './examples.ts';

export const WINDOW = 1_000;
export const MAX_STREAMS = 4;
const PING_MS = 1_000;

export function newChannel(role: 'initiator' | 'responder'): Channel {
  return new Channel({ role, pingMs: PING_MS, windowBytes: WINDOW, sendBufferBytes: 600, maxStreams: MAX_STREAMS }, 0);
}

/** Calls of the application that both kinds of run share; `at` chooses a stream. */
export function callChannel(channel: Channel, operation: number, at: number, rest: Uint8Array, now: number): void {
  const stream = at % 12;
  switch (operation) {
    case 11:
      try {
        channel.open(HOST);
      } catch (error) {
        // The limit, or the reason of a drain.
        if (!(error instanceof ShellstreamError)) throw error;
      }
      return;
    case 12:
      channel.write(stream, new Uint8Array((rest[1] ?? 0) * 8).fill(stream));
      return;
    case 13:
      if ((rest[1] ?? 0) % 3 === 0) channel.finish(stream);
      else if ((rest[1] ?? 0) % 3 === 1) channel.release(stream);
      else channel.reset(stream, 'TARGET_UNREACHABLE');
      return;
    case 15:
      endChannel(channel, rest, now);
  }
}

function endChannel(channel: Channel, rest: Uint8Array, now: number): void {
  switch ((rest[1] ?? 0) % 6) {
    case 0:
      channel.ping(now);
      return;
    case 1:
      channel.drain(now, { reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: (rest[2] ?? 0) * 100 });
      return;
    case 2:
      channel.send({ type: 'POSTURE', level: 3, epoch: 1n });
      return;
    case 3:
      channel.close('CLOSED');
      return;
    case 4:
      channel.setPingPeriod(now, 1 + (rest[2] ?? 0) * 10);
      return;
    default:
      channel.send({ type: 'TUNNEL', state: 'ready', generation: 1 });
  }
}

const SIDES = ['initiator', 'responder'] as const;

/** Ends that an honest peer may bring about. STREAM_LIMIT: resets come too fast; PEER_SILENT: nothing was delivered. */
const ORDERLY = new Set(['CLOSED', 'OPERATOR_DRAIN', 'PEER_SILENT', 'OVERLOADED', 'STREAM_LIMIT']);

export class HonestPair {
  readonly #channels = { initiator: newChannel('initiator'), responder: newChannel('responder') };
  readonly #ends: Record<string, string> = {};
  #reattesting = false;
  #now = 0;

  step(operation: number, rest: Uint8Array): void {
    const side = SIDES[(rest[0] ?? 0) & 1] ?? 'initiator';
    const channel = this.#channels[side];
    const at = (rest[0] ?? 0) >> 1;
    switch (operation) {
      case 8:
        this.#exchange();
        break;
      case 9:
        this.#accept(channel);
        break;
      case 10:
        this.#consume(channel, at % 12, 1 + (rest[1] ?? 0));
        break;
      case 14:
        this.#now += (rest[1] ?? 0) * 8;
        channel.handleTimeout(this.#now);
        break;
      case 7:
        this.#reattest();
        break;
      default:
        callChannel(channel, operation, at, rest, this.#now);
    }
    this.#watch();
  }

  finish(): string {
    this.#exchange();
    this.#watch();
    return `${this.#ends.initiator ?? 'open'} ${this.#ends.responder ?? 'open'}`;
  }

  #exchange(): void {
    for (let moved = true, rounds = 0; moved; rounds += 1) {
      holds(rounds < 100, 'two channels talk without end');
      moved = false;
      for (const side of SIDES) {
        const other = this.#channels[side === 'initiator' ? 'responder' : 'initiator'];
        for (let frame = this.#pull(side); frame !== undefined; frame = this.#pull(side)) {
          other.receiveBytes(this.#now, encodeFrame(frame));
          moved = true;
        }
      }
    }
  }

  #pull(side: (typeof SIDES)[number]): Frame | undefined {
    const frame = this.#channels[side].pull(this.#now, 65_536);
    if (frame !== undefined)
      holds(alike(encodeFrame(decodeFrame(encodeFrame(frame))), encodeFrame(frame)), 'a frame changes');
    return frame;
  }

  /** As the session does it: three inner records, then the grant. */
  #reattest(): void {
    const { initiator, responder } = this.#channels;
    if (this.#reattesting) {
      responder.send({ type: 'REATTEST', record: Uint8Array.of(2) });
      responder.send({ type: 'GRANT', grant: GRANT });
    } else initiator.send({ type: 'REATTEST', record: Uint8Array.of(1) });
    this.#exchange();
    this.#reattesting = !this.#reattesting;
  }

  readonly #offered = new Map<Channel, number[]>();

  #accept(channel: Channel): void {
    for (const stream of this.#offered.get(channel) ?? []) channel.accept(stream);
    this.#offered.delete(channel);
  }

  #consume(channel: Channel, stream: number, most: number): void {
    const bytes = channel.read(stream, most);
    if (bytes === undefined) return;
    holds(
      bytes.every((byte) => byte === stream),
      'the bytes of another stream',
    );
    channel.consumed(stream, bytes.length);
  }

  #watch(): void {
    for (const side of SIDES) {
      const channel = this.#channels[side];
      holds(channel.retainedBytes <= 3 * 2 * MAX_STREAMS * WINDOW, 'more is kept than the windows allow');
      holds(channel.streamCount <= 2 * MAX_STREAMS, 'more streams than the limit');
      for (let event = channel.poll(); event !== undefined; event = channel.poll()) this.#note(side, channel, event);
    }
  }

  #note(side: string, channel: Channel, event: ChannelEvent): void {
    holds(this.#ends[side] === undefined, `${event.type} behind the end`);
    if (event.type === 'stream-opened')
      this.#offered.set(channel, [...(this.#offered.get(channel) ?? []), event.stream]);
    if (event.type !== 'closed') return;
    holds(ORDERLY.has(event.reason), `an honest peer is accused of ${event.reason}: ${event.detail}`);
    this.#ends[side] = `${event.reason} by ${event.by}`;
  }
}
