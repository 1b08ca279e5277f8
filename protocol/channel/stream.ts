/**
 * One stream: two halves that end separately. A half ends with one STREAM_CLOSE of its sender: without a reason when
 * everything was sent (finish), with one to give the whole stream up (reset), which the other side answers with its own.
 * A reset after a finish only stops the other direction: what was sent stays good. Each end knows from what it sent and
 * received when a stream is over, and nothing of it has to be remembered.
 *
 * Window: granted (the peer may send) + buffered (waits for `read`) + held (read, not yet consumed) + freed (consumed,
 * not yet granted again) never exceeds the window this side chose.
 */
import type { Target } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import type { Reason } from '../reasons.ts';
import { ByteQueue } from './byte-queue.ts';
import { DATA_HEADER_BYTES, type Frame, MAX_DATA_BYTES } from './frame.ts';

/** More credit than this at once is an attempt to overflow somebody's counter. */
export const MAX_CREDIT = 2 ** 31 - 1;

type SendHalf =
  | { readonly kind: 'open' }
  /** Ends when the queue is empty. */
  | { readonly kind: 'finishing' }
  | { readonly kind: 'finished' }
  | { readonly kind: 'resetting'; readonly reason: Reason }
  | { readonly kind: 'reset' };

export interface StreamOptions {
  readonly id: number;
  readonly openedBy: 'us' | 'peer';
  /** Bytes that the peer may have under way or unread with us. */
  readonly windowBytes: number;
  /** Bytes that wait here for the peer's credit. */
  readonly sendBufferBytes: number;
  /** What the peer is ready to take at the start. */
  readonly credit: number;
  /** The OPEN that has to leave first; streams of ours only. */
  readonly target?: Target;
}

export class Stream {
  readonly id: number;
  readonly openedBy: 'us' | 'peer';
  readonly #windowBytes: number;
  readonly #sendBufferBytes: number;
  readonly #unsent = new ByteQueue();
  readonly #unread = new ByteQueue();
  #send: SendHalf = { kind: 'open' };
  /** `stopped`: finished, and takes nothing more of ours. */
  #peer: 'open' | 'finished' | 'stopped' | 'reset' = 'open';
  /** Whether what the peer sends is still for somebody. */
  #isDropped = false;
  #stopped: Reason | undefined;
  #openFor: Target | undefined;
  #credit: number;
  #granted = 0;
  #held = 0;
  #freed = 0;
  #acceptance: 'awaited' | 'due' | 'done';
  #writerWaits = false;
  #awaitsAnswer: boolean;

  constructor(options: StreamOptions) {
    if (options.credit > MAX_CREDIT) throw new ShellstreamError('WINDOW_EXCEEDED', `credit ${options.credit}`);
    this.id = options.id;
    this.openedBy = options.openedBy;
    this.#windowBytes = options.windowBytes;
    this.#sendBufferBytes = options.sendBufferBytes;
    this.#credit = options.credit;
    this.#openFor = options.target;
    this.#acceptance = options.openedBy === 'us' ? 'done' : 'awaited';
    this.#awaitsAnswer = options.openedBy === 'us';
    if (options.openedBy === 'us') this.#granted = options.windowBytes;
  }

  // ── the application's side ──

  accept(): void {
    if (this.#acceptance !== 'awaited' || this.#isReset) return;
    this.#acceptance = 'due';
    this.#freed = this.#windowBytes;
  }

  write(bytes: Uint8Array): number {
    if (this.#send.kind !== 'open') return bytes.length;
    const taken = bytes.subarray(0, this.#sendBufferBytes - this.#unsent.length);
    this.#unsent.push(taken);
    this.#writerWaits = taken.length < bytes.length;
    return taken.length;
  }

  ownUnsent(): void {
    this.#unsent.own();
  }

  finish(): void {
    if (this.#send.kind === 'open') this.#send = { kind: 'finishing' };
  }

  reset(reason: Reason): void {
    if (!this.#isReset && !this.isOver) this.#send = { kind: 'resetting', reason };
    this.#unsent.clear();
    this.#dropReceived();
  }

  /** What was written still leaves; what comes is dropped; when everything has left, a peer that goes on is stopped. */
  release(): void {
    this.finish();
    this.#dropReceived();
    this.#stopPeer();
  }

  read(most: number): Uint8Array | undefined {
    const bytes = this.#unread.take(most);
    this.#held += bytes?.length ?? 0;
    return bytes;
  }

  consumed(bytes: number): void {
    // Then nothing is held any more, while the application may still count what it had taken.
    if (this.#isDropped) return;
    if (bytes > this.#held) throw new ShellstreamError('INTERNAL', `${bytes} bytes consumed, ${this.#held} held`);
    this.#held -= bytes;
    this.#freed += bytes;
  }

  // ── the peer's side; each throws what the peer did wrong ──

  /** Whether the application has to be told that there is something to read. */
  onData(bytes: Uint8Array): boolean {
    if (this.#peer !== 'open') throw new ShellstreamError('UNEXPECTED_RECORD', 'data behind the end of a stream');
    if (bytes.length > this.#granted) {
      throw new ShellstreamError('WINDOW_EXCEEDED', `${bytes.length} bytes, ${this.#granted} granted`);
    }
    this.#granted -= bytes.length;
    if (this.#isDropped) return false;
    const wasEmpty = this.#unread.length === 0;
    this.#unread.push(bytes);
    return wasEmpty;
  }

  /** Whether this is the answer to our OPEN. */
  onWindow(credit: number): boolean {
    if (this.#credit + credit > MAX_CREDIT)
      throw new ShellstreamError('WINDOW_EXCEEDED', `${credit} bytes more credit`);
    this.#credit += credit;
    const isAnswer = this.#awaitsAnswer && !this.#isReset;
    this.#awaitsAnswer = false;
    return isAnswer;
  }

  onFinish(): void {
    if (this.#peer !== 'open') throw new ShellstreamError('UNEXPECTED_RECORD', 'a stream ended twice');
    this.#peer = 'finished';
  }

  /**
   * `answer`: to our own reset, or nobody cares any more. `abort`: unread bytes are gone. `stop`: the peer had
   * finished before; what it sent can still be read, then {@link takeStopped} gives the reason.
   */
  onReset(reason: Reason): 'answer' | 'abort' | 'stop' {
    if (this.#peer === 'reset' || this.#peer === 'stopped') {
      throw new ShellstreamError('UNEXPECTED_RECORD', 'a stream reset twice');
    }
    const kind = this.#isDropped ? 'answer' : this.#peer === 'finished' ? 'stop' : 'abort';
    this.#peer = this.#peer === 'finished' ? 'stopped' : 'reset';
    if (this.#send.kind === 'finished') this.#send = { kind: 'reset' };
    else if (!this.#isReset) this.#send = { kind: 'resetting', reason };
    this.#unsent.clear();
    if (kind === 'abort') this.#dropReceived();
    if (kind === 'stop') this.#stopped = reason;
    return kind;
  }

  /** Once, when the peer has stopped us and all that it sent is consumed. */
  takeStopped(): Reason | undefined {
    if (this.retained > 0 || this.#isDropped) return undefined;
    const reason = this.#stopped;
    this.#stopped = undefined;
    return reason;
  }

  // ── what leaves ──

  get hasControl(): boolean {
    return this.#openFor !== undefined || this.#send.kind === 'resetting' || this.#creditIsDue;
  }

  takeControl(): Frame | undefined {
    if (this.#openFor !== undefined) {
      const frame: Frame = { type: 'STREAM_OPEN', stream: this.id, target: this.#openFor, window: this.#granted };
      this.#openFor = undefined;
      return frame;
    }
    if (this.#send.kind === 'resetting') {
      const { reason } = this.#send;
      this.#send = { kind: 'reset' };
      return { type: 'STREAM_CLOSE', stream: this.id, reason };
    }
    if (!this.#creditIsDue) return undefined;
    const credit = this.#freed;
    this.#acceptance = 'done';
    this.#granted += credit;
    this.#freed = 0;
    return { type: 'STREAM_WINDOW', stream: this.id, credit };
  }

  get hasData(): boolean {
    if (this.#openFor !== undefined) return false;
    if (this.#send.kind === 'finishing' && this.#unsent.length === 0) return true;
    return this.#unsent.length > 0 && this.#credit > 0;
  }

  takeData(maxFrameBytes: number): Frame | undefined {
    const most = Math.min(MAX_DATA_BYTES, this.#credit, maxFrameBytes - DATA_HEADER_BYTES);
    const data = this.#unsent.take(most);
    if (data !== undefined) {
      this.#credit -= data.length;
      return { type: 'STREAM_DATA', stream: this.id, data };
    }
    if (this.#send.kind !== 'finishing' || this.#unsent.length > 0) return undefined;
    this.#send = { kind: 'finished' };
    this.#stopPeer();
    return { type: 'STREAM_CLOSE', stream: this.id, reason: undefined };
  }

  /** True once after a write that was taken in part, when half of the buffer is free again. */
  takeWritable(): boolean {
    if (!this.#writerWaits || this.#unsent.length * 2 > this.#sendBufferBytes) return false;
    this.#writerWaits = false;
    return this.#send.kind === 'open';
  }

  // ── where it stands ──

  get isUnsent(): boolean {
    return this.#openFor !== undefined;
  }

  /** Everything the peer sent was read and there will be no more. */
  get isReadToTheEnd(): boolean {
    return (this.#peer === 'finished' || this.#peer === 'stopped') && this.#unread.length === 0;
  }

  /** Both halves have ended on the wire: no frame but a late STREAM_WINDOW or STREAM_CLOSE can come. */
  get isOver(): boolean {
    return (this.#send.kind === 'finished' || this.#send.kind === 'reset') && this.#peer !== 'open';
  }

  /** Bytes of the peer that are still ours to keep. */
  get retained(): number {
    return this.#unread.length + this.#held;
  }

  get #isReset(): boolean {
    return this.#send.kind === 'resetting' || this.#send.kind === 'reset';
  }

  get #creditIsDue(): boolean {
    if (this.#isDropped || this.#isReset) return false;
    // The peer waits for this answer even when it has nothing to send.
    if (this.#acceptance === 'due') return true;
    return this.#freed > 0 && this.#freed * 2 >= this.#windowBytes && this.#peer === 'open';
  }

  #stopPeer(): void {
    if (this.#isDropped && this.#send.kind === 'finished' && this.#peer === 'open') {
      this.#send = { kind: 'resetting', reason: 'CLOSED' };
    }
  }

  #dropReceived(): void {
    this.#isDropped = true;
    this.#unread.clear();
    this.#held = 0;
    this.#freed = 0;
  }
}
