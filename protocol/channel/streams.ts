/** All streams of a channel: their numbers, their limits, and whose turn it is to send. */
import type { Target } from '../capability/model.ts';
import { assertNever, ShellstreamError } from '../errors.ts';
import type { Reason } from '../reasons.ts';
import type { StreamEvent } from './events.ts';
import type { Frame } from './frame.ts';
import { Rate } from './rate.ts';
import { Stream } from './stream.ts';

export interface StreamsOptions {
  readonly role: 'initiator' | 'responder';
  readonly windowBytes: number;
  readonly sendBufferBytes: number;
  /** Streams at once in each direction. */
  readonly maxStreams: number;
}

type StreamFrame = Extract<Frame, { type: `STREAM_${string}` }>;

/** A peer that opens and resets in a loop makes us dial each time while it never holds a stream ("rapid reset"). */
const RESET_BURST = 256;
const RESETS_PER_SECOND = 64;

const MAX_ID = 2 ** 32 - 1;

export class Streams {
  readonly #options: StreamsOptions;
  readonly #emit: (event: StreamEvent) => void;
  readonly #resets: Rate;
  readonly #byId = new Map<number, Stream>();
  /** Streams on the wire by who opened them; those that are over but unread are no longer among them. */
  readonly #live = { us: new Set<Stream>(), peer: new Set<Stream>() };
  readonly #withControl = new Set<Stream>();
  /** In the order of their turns. */
  readonly #withData = new Set<Stream>();
  #nextId: number;
  #lastPeerId = 0;

  constructor(options: StreamsOptions, now: number, emit: (event: StreamEvent) => void) {
    this.#options = options;
    this.#emit = emit;
    this.#nextId = options.role === 'initiator' ? 1 : 2;
    this.#resets = new Rate(RESET_BURST, RESETS_PER_SECOND, now);
  }

  /** Streams that are not over on the wire. */
  get liveCount(): number {
    return this.#live.us.size + this.#live.peer.size;
  }

  /** Nothing is on the wire and nothing waits to be read or consumed. */
  get isEmpty(): boolean {
    return this.#byId.size === 0;
  }

  /** Bytes of the peer kept in all streams. */
  get retained(): number {
    let bytes = 0;
    for (const stream of this.#byId.values()) bytes += stream.retained;
    return bytes;
  }

  /** @throws ShellstreamError STREAM_LIMIT */
  open(target: Target): number {
    if (this.#live.us.size >= this.#options.maxStreams || this.#isFull || this.#nextId > MAX_ID) {
      throw new ShellstreamError('STREAM_LIMIT');
    }
    const stream = this.#add({ id: this.#nextId, openedBy: 'us', credit: 0, target });
    this.#nextId += 2;
    this.#update(stream);
    return stream.id;
  }

  accept(id: number): void {
    this.#with(id, (stream) => stream.accept());
  }

  write(id: number, bytes: Uint8Array): number {
    return this.#with(id, (stream) => stream.write(bytes)) ?? bytes.length;
  }

  ownUnsent(id: number): void {
    this.#byId.get(id)?.ownUnsent();
  }

  finish(id: number): void {
    this.#with(id, (stream) => stream.finish());
  }

  reset(id: number, reason: Reason): void {
    const stream = this.#byId.get(id);
    if (stream?.isUnsent) this.#remove(stream);
    else this.#with(id, (known) => known.reset(reason));
  }

  release(id: number): void {
    this.#with(id, (stream) => stream.release());
  }

  read(id: number, most: number): Uint8Array | undefined {
    return this.#with(id, (stream) => {
      const bytes = stream.read(most);
      if (bytes !== undefined && stream.isReadToTheEnd) this.#emit({ type: 'stream-finished', stream: id });
      return bytes;
    });
  }

  consumed(id: number, bytes: number): void {
    this.#with(id, (stream) => stream.consumed(bytes));
  }

  /** A frame of the peer. `refuse`: why no stream may be opened now, if so. Throws what the peer did wrong. */
  receive(now: number, frame: StreamFrame, refuse: Reason | undefined): void {
    if (frame.type === 'STREAM_OPEN') {
      this.#receiveOpen(frame, refuse);
      return;
    }
    const stream = this.#byId.get(frame.stream);
    if (stream === undefined) {
      if (frame.type === 'STREAM_DATA' || !this.#wasOpen(frame.stream)) {
        throw new ShellstreamError('UNEXPECTED_RECORD', `${frame.type} on stream ${frame.stream}, which is not open`);
      }
      return;
    }
    switch (frame.type) {
      case 'STREAM_DATA':
        if (stream.onData(frame.data)) this.#emit({ type: 'stream-readable', stream: stream.id });
        break;
      case 'STREAM_WINDOW':
        if (stream.onWindow(frame.credit)) this.#emit({ type: 'stream-accepted', stream: stream.id });
        break;
      case 'STREAM_CLOSE':
        this.#receiveClose(now, stream, frame.reason);
        break;
      default:
        assertNever(frame);
    }
    this.#update(stream);
  }

  /** The next frame that carries no data. */
  takeControl(): Frame | undefined {
    for (const stream of this.#withControl) {
      const frame = stream.takeControl();
      this.#update(stream);
      if (frame !== undefined) return frame;
    }
    return undefined;
  }

  /** The next data, or end of data, of the stream whose turn it is; the stream then goes to the end of the line. */
  takeData(maxFrameBytes: number): Frame | undefined {
    for (const stream of this.#withData) {
      const frame = stream.takeData(maxFrameBytes);
      if (frame === undefined) continue;
      this.#withData.delete(stream);
      this.#update(stream);
      if (stream.takeWritable()) this.#emit({ type: 'stream-writable', stream: stream.id });
      return frame;
    }
    return undefined;
  }

  /** Gives up the streams that the peer was not told of yet. */
  dropUnsent(reason: Reason): void {
    for (const stream of [...this.#live.us].filter((candidate) => candidate.isUnsent)) {
      this.#remove(stream);
      this.#emit({ type: 'stream-closed', stream: stream.id, reason });
    }
  }

  clear(): void {
    for (const stream of [...this.#byId.values()]) this.#remove(stream);
  }

  #receiveOpen(frame: Extract<Frame, { type: 'STREAM_OPEN' }>, refuse: Reason | undefined): void {
    const { stream: id, target, window } = frame;
    if (this.#isOurs(id) || id <= this.#lastPeerId)
      throw new ShellstreamError('UNEXPECTED_RECORD', `stream ${id} opened`);
    if (this.#live.peer.size >= this.#options.maxStreams) throw new ShellstreamError('STREAM_LIMIT');
    this.#lastPeerId = id;
    const refusal = refuse ?? (this.#isFull ? 'OVERLOADED' : undefined);
    const stream = this.#add({ id, openedBy: 'peer', credit: window });
    if (refusal === undefined) this.#emit({ type: 'stream-opened', stream: id, target });
    else stream.reset(refusal);
    this.#update(stream);
  }

  #receiveClose(now: number, stream: Stream, reason: Reason | undefined): void {
    if (reason === undefined) {
      stream.onFinish();
      if (stream.isReadToTheEnd) this.#emit({ type: 'stream-finished', stream: stream.id });
      return;
    }
    const kind = stream.onReset(reason);
    if (kind === 'answer') return;
    if (stream.openedBy === 'peer' && !this.#resets.take(now)) {
      throw new ShellstreamError('STREAM_LIMIT', 'streams opened and reset too fast');
    }
    if (kind === 'abort') this.#emit({ type: 'stream-closed', stream: stream.id, reason });
  }

  #add(options: { id: number; openedBy: 'us' | 'peer'; credit: number; target?: Target }): Stream {
    const { windowBytes, sendBufferBytes } = this.#options;
    const stream = new Stream({ ...options, windowBytes, sendBufferBytes });
    this.#byId.set(stream.id, stream);
    this.#live[stream.openedBy].add(stream);
    return stream;
  }

  /** A stream that is no longer there drops what it is given: its end may cross with any call. */
  #with<T>(id: number, action: (stream: Stream) => T): T | undefined {
    const stream = this.#byId.get(id);
    if (stream === undefined) return undefined;
    const result = action(stream);
    this.#update(stream);
    return result;
  }

  #update(stream: Stream): void {
    const stopped = stream.takeStopped();
    if (stopped !== undefined) this.#emit({ type: 'stream-closed', stream: stream.id, reason: stopped });
    if (stream.isOver) {
      this.#live[stream.openedBy].delete(stream);
      if (stream.retained === 0) {
        this.#remove(stream);
        return;
      }
    }
    setMembership(this.#withControl, stream, stream.hasControl);
    setMembership(this.#withData, stream, stream.hasData);
  }

  #remove(stream: Stream): void {
    this.#byId.delete(stream.id);
    this.#live[stream.openedBy].delete(stream);
    this.#withControl.delete(stream);
    this.#withData.delete(stream);
  }

  /**
   * Streams that are over on the wire may still wait to be read. The peer cannot know, so what it opens then is refused
   * without fault; it bounds what a peer makes us keep by finishing streams whose targets do not read.
   */
  get #isFull(): boolean {
    return this.#byId.size >= 3 * this.#options.maxStreams;
  }

  #isOurs(id: number): boolean {
    return id % 2 === (this.#options.role === 'initiator' ? 1 : 0);
  }

  #wasOpen(id: number): boolean {
    return this.#isOurs(id) ? id < this.#nextId : id <= this.#lastPeerId;
  }
}

function setMembership<T>(set: Set<T>, member: T, isIn: boolean): void {
  if (isIn) set.add(member);
  else set.delete(member);
}
