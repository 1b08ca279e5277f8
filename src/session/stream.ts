import { Duplex } from 'node:stream';
import type { Target } from '../../protocol/capability/index.ts';
import type { Channel } from '../../protocol/channel/index.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { SessionWire } from './wire.ts';

/** What waits in this process for a slow reader, besides the channel's own window. */
const BUFFER_BYTES = 65_536;

/**
 * One stream of a session as a Duplex: ends half by half, errors with a ShellstreamError of the peer's reason, and
 * gives credit only for what was read from it. One byte of what waits here for its reader counts as unread in the channel:
 * a drain that is over while the reader is behind would cut it off from what had come in time.
 */
export class SessionStream extends Duplex {
  readonly stream: number;
  readonly target: Target;
  readonly openedBy: 'local' | 'peer';
  readonly openedAtMs: number;
  receivedBytes = 0n;
  sentBytes = 0n;
  readonly #wire: SessionWire;
  #waiting: { readonly rest: Uint8Array; readonly done: (error?: Error) => void } | undefined;
  #peerFinished = false;
  #holdsByte = false;
  #gone = false;

  constructor(
    wire: SessionWire,
    about: { stream: number; target: Target; openedBy: 'local' | 'peer'; openedAtMs: number },
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.#wire = wire;
    this.stream = about.stream;
    this.target = about.target;
    this.openedBy = about.openedBy;
    this.openedAtMs = about.openedAtMs;
  }

  // ── events of the channel ──

  bytesArrived(): void {
    this.#fill();
  }

  creditArrived(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#send(waiting.rest, waiting.done);
  }

  /** The peer has sent everything, and all of it was read from the channel. */
  peerFinished(): void {
    this.#peerFinished = true;
    this.push(null);
  }

  closedByPeer(reason: Reason): void {
    this.#gone = true;
    // Both halves are through: its end is only not told yet.
    if (this.#peerFinished && this.readableLength === 0 && this.writableFinished) return;
    this.destroy(new ShellstreamError(reason));
  }

  /**
   * What `write` does, for bytes that are used again as soon as this returns. False: no more until `ready` is called,
   * which happens once, also when the stream is gone.
   */
  feed(bytes: Uint8Array, ready: () => void): boolean {
    const taken = this.#take(bytes);
    if (taken === bytes.length) return true;
    this.#waiting = { rest: bytes.slice(taken), done: ready };
    return false;
  }

  // ── Duplex ──

  override _read(): void {
    this.#fill();
  }

  override read(size?: number): Buffer | null {
    const bytes: Buffer | null = super.read(size);
    if (this.#holdsByte && this.readableLength === 0) {
      this.#holdsByte = false;
      if (!this.#gone) this.#wire.act((channel) => channel.consumed(this.stream, 1));
    }
    return bytes;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#send(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length), done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#wire.act((channel) => channel.finish(this.stream));
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#gone) this.#wire.act((channel) => this.#giveUp(channel, error));
    this.#gone = true;
    this.#waiting?.done(error ?? new ShellstreamError('CLOSED'));
    this.#waiting = undefined;
    done(error);
  }

  /** What was finished still leaves; what was cut off is told as cut off. */
  #giveUp(channel: Channel, error: Error | null): void {
    if (error !== null) channel.reset(this.stream, reasonOf(error));
    else if (this.writableFinished) channel.release(this.stream);
    else channel.reset(this.stream, 'CLOSED');
  }

  #send(bytes: Uint8Array, done: (error?: Error) => void): void {
    const taken = this.#take(bytes);
    if (taken === bytes.length) done();
    else this.#waiting = { rest: bytes.subarray(taken), done };
  }

  /** How many of them the channel took; they may be used again afterwards. */
  #take(bytes: Uint8Array): number {
    const taken = this.#wire.act((channel) => channel.write(this.stream, bytes));
    this.sentBytes += BigInt(taken);
    // Most have left by now.
    this.#wire.act((channel) => channel.ownUnsent(this.stream));
    return taken;
  }

  #fill(): void {
    if (this.#gone || this.#peerFinished) return;
    while (this.#wire.act((channel) => this.#move(channel)));
  }

  /**
   * The next bytes from the channel to the reader, who bounds them from here on. In one act: that they were the last is
   * told behind them.
   */
  #move(channel: Channel): boolean {
    const bytes = channel.read(this.stream);
    if (bytes === undefined) return false;
    this.receivedBytes += BigInt(bytes.length);
    const isWanted = this.push(bytes);
    const held = this.#holdsByte ? 1 : 0;
    this.#holdsByte = this.readableLength > 0;
    channel.consumed(this.stream, bytes.length + held - (this.#holdsByte ? 1 : 0));
    return isWanted;
  }
}
