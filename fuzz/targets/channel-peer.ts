/** A channel whose peer sends whatever the input says, beside a ledger of what each side was allowed to send. */
import { type Channel, type ChannelEvent, decodeFrame, encodeFrame, type Frame } from '../../protocol/channel/index.ts';
import { alike, holds } from '../target.ts';
import { callChannel, MAX_STREAMS, newChannel, WINDOW } from './channel-pair.ts';

interface Ledger {
  /** Bytes we have told the peer that it may send, and what it sent. */
  granted: number;
  received: number;
  /** Bytes that the peer told us, and what we sent. */
  credit: number;
  sent: number;
  /** What the peer sent and was not read yet. */
  unread: Uint8Array;
}

export class HostilePeer {
  readonly #channel: Channel;
  readonly #streams = new Map<number, Ledger>();
  readonly #offered: number[] = [];
  readonly #reads = new Map<number, number>();
  #end: string | undefined;
  #saidDrained = false;
  #saidClose = false;
  /** The peer's own DRAIN names a fault of its own, or a number that we do not know: then its end by that drain does too. */
  #drainsAsFaulty = false;
  #now = 0;

  constructor(role: 'initiator' | 'responder') {
    this.#channel = newChannel(role);
  }

  step(operation: number, rest: Uint8Array): void {
    switch (operation) {
      case 8:
        this.#pullAll();
        break;
      case 9:
        for (const stream of this.#offered.splice(0)) this.#channel.accept(stream);
        break;
      case 10:
        this.#read((rest[0] ?? 0) % 12, 1 + (rest[1] ?? 0) * 4);
        break;
      case 14:
        this.#now += (rest[1] ?? 0) * 8;
        this.#channel.handleTimeout(this.#now);
        break;
      case 11:
      case 12:
      case 13:
      case 15:
        callChannel(this.#channel, operation, rest[0] ?? 0, rest, this.#now);
        break;
      default:
        this.#receive(rest.subarray(1));
    }
    this.#watch();
  }

  finish(): string {
    this.#pullAll();
    this.#watch();
    if (this.#end !== undefined) {
      holds(this.#channel.isFinished && this.#channel.deadline === undefined, 'a closed channel goes on');
      holds(this.#channel.streamCount === 0 && this.#channel.retainedBytes === 0, 'streams outlive their channel');
    }
    return this.#end ?? `open ${this.#channel.streamCount}`;
  }

  #receive(plaintext: Uint8Array): void {
    this.#channel.receiveBytes(this.#now, plaintext);
    if (this.#channel.phase === 'closed') return;
    // It was taken, so it is a frame.
    const frame = decodeFrame(plaintext);
    if (frame.type === 'DRAIN' && frame.reason === 'INTERNAL') this.#drainsAsFaulty = true;
    if (frame.type === 'STREAM_OPEN') this.#streams.set(frame.stream, { ...NOTHING, credit: frame.window });
    if (frame.type === 'STREAM_WINDOW') this.#ledger(frame.stream).credit += frame.credit;
    if (frame.type !== 'STREAM_DATA') return;
    const ledger = this.#ledger(frame.stream);
    ledger.received += frame.data.length;
    ledger.unread = Buffer.concat([ledger.unread, frame.data]);
    holds(ledger.received <= ledger.granted, `${ledger.received} bytes were taken, ${ledger.granted} granted`);
  }

  #pullAll(): void {
    for (let pulled = 0; ; pulled += 1) {
      const frame = this.#channel.pull(this.#now, 65_536);
      if (frame === undefined) return;
      holds(pulled < 1_000, 'frames without end');
      this.#sent(frame);
    }
  }

  #sent(frame: Frame): void {
    holds(alike(encodeFrame(decodeFrame(encodeFrame(frame))), encodeFrame(frame)), 'a frame that changes');
    holds(!this.#saidClose, `${frame.type} behind CLOSE`);
    const afterDrained = ['STREAM_OPEN', 'STREAM_DATA', 'STREAM_WINDOW', 'DRAINED'];
    holds(!this.#saidDrained || !afterDrained.includes(frame.type), `${frame.type} behind DRAINED`);
    if (frame.type === 'DRAINED') this.#saidDrained = true;
    if (frame.type === 'CLOSE') this.#saidClose = true;
    if (frame.type === 'STREAM_OPEN') this.#streams.set(frame.stream, { ...NOTHING, granted: frame.window });
    if (frame.type === 'STREAM_WINDOW') this.#ledger(frame.stream).granted += frame.credit;
    if (frame.type !== 'STREAM_DATA') return;
    const ledger = this.#ledger(frame.stream);
    ledger.sent += frame.data.length;
    holds(ledger.sent <= ledger.credit, `${ledger.sent} bytes sent, ${ledger.credit} allowed`);
  }

  #read(stream: number, most: number): void {
    const bytes = this.#channel.read(stream, most);
    if (bytes === undefined) return;
    const ledger = this.#ledger(stream);
    holds(alike(Buffer.from(bytes), Buffer.from(ledger.unread.subarray(0, bytes.length))), 'other bytes than came');
    ledger.unread = ledger.unread.subarray(bytes.length);
    this.#reads.set(stream, (this.#reads.get(stream) ?? 0) + bytes.length);
    this.#channel.consumed(stream, bytes.length);
  }

  #watch(): void {
    const channel = this.#channel;
    holds(channel.retainedBytes <= 3 * MAX_STREAMS * WINDOW, `${channel.retainedBytes} bytes are kept`);
    holds(channel.streamCount <= 2 * MAX_STREAMS, 'more streams than the limit');
    let events = 0;
    for (let event = channel.poll(); event !== undefined; event = channel.poll()) {
      events += 1;
      holds(events <= 64, 'events without end for one step');
      this.#note(event);
    }
  }

  #note(event: ChannelEvent): void {
    holds(this.#end === undefined, `${event.type} behind the end`);
    if (event.type === 'stream-opened') this.#offered.push(event.stream);
    if (event.type === 'closed') {
      holds(
        event.reason !== 'INTERNAL' || event.by === 'peer' || this.#drainsAsFaulty,
        `a fault of ours: ${event.detail}`,
      );
      this.#end = `${event.reason} by ${event.by}`;
    }
  }

  #ledger(stream: number): Ledger {
    const known = this.#streams.get(stream) ?? { ...NOTHING };
    this.#streams.set(stream, known);
    return known;
  }
}

const NOTHING: Ledger = { granted: 0, received: 0, credit: 0, sent: 0, unread: new Uint8Array() };
