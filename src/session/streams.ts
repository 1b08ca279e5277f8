/** The streams of one session: those the peer asks for, joined to their targets; those we ask for, given to a caller. */
import { connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { containsTarget, type Target } from '../../protocol/capability/index.ts';
import type { StreamEvent } from '../../protocol/channel/index.ts';
import { assertNever, ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Descriptors } from '../base/descriptors.ts';
import type { Admission, StreamTotals } from '../enforcer/ports.ts';
import { SessionStream } from './stream.ts';
import type { SessionWire } from './wire.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/**
 * Where what targets send is read, of all streams one read after the other: each read leaves it before the next. A buffer
 * for each would have the engine collect its whole heap every few megabytes.
 */
const READING = new Uint8Array(65_536);

export class SessionStreams {
  readonly #wire: SessionWire;
  readonly #clock: Clock;
  readonly #descriptors: Descriptors;
  readonly #streams = new Map<number, SessionStream>();
  /** What those carried that are over. */
  readonly #closed = { streams: 0, receivedBytes: 0n, sentBytes: 0n };
  /** Streams of ours that the peer has not answered yet. */
  readonly #opening = new Map<number, { resolve(stream: SessionStream): void; reject(error: Error): void }>();

  /** @param descriptors of them each stream that is joined here takes one */
  constructor(wire: SessionWire, clock: Clock, descriptors: Descriptors) {
    this.#wire = wire;
    this.#clock = clock;
    this.#descriptors = descriptors;
  }

  get all(): readonly SessionStream[] {
    return [...this.#streams.values()];
  }

  /** Of all that there ever were. */
  get totals(): StreamTotals {
    const totals = { ...this.#closed };
    for (const stream of this.#streams.values()) add(totals, stream);
    return totals;
  }

  /**
   * A stream to a target behind the peer; resolves when the peer took it.
   * @throws ShellstreamError STREAM_LIMIT, the reason of a drain, or the peer's reason
   */
  async open(target: Target): Promise<SessionStream> {
    const id = this.#wire.act((channel) => channel.open(target));
    this.#add(id, target, 'local');
    return await new Promise((resolve, reject) => this.#opening.set(id, { resolve, reject }));
  }

  /** The peer asks for a stream: judged by what the session was granted and by the level that governs it now. */
  accept(id: number, target: Target, judgement: StreamJudgement): void {
    const refusal = refuse(target, judgement);
    const descriptor = refusal === undefined ? this.#descriptors.take() : undefined;
    if (descriptor === undefined) this.#wire.act((channel) => channel.reset(id, refusal ?? 'OVERLOADED'));
    else this.#join(this.#add(id, target, 'peer'), descriptor);
  }

  /** What would be refused now ends: a stream does not outlive the grant or the level that let it in. */
  judge(judgement: StreamJudgement): void {
    for (const stream of this.all) {
      if (stream.openedBy !== 'peer') continue;
      const refusal = refuse(stream.target, judgement);
      if (refusal !== undefined) stream.destroy(new ShellstreamError(refusal));
    }
  }

  handle(event: Exclude<StreamEvent, { type: 'stream-opened' }>): void {
    const stream = this.#streams.get(event.stream);
    if (stream === undefined) return;
    switch (event.type) {
      case 'stream-accepted':
        this.#opening.get(event.stream)?.resolve(stream);
        this.#opening.delete(event.stream);
        return;
      case 'stream-readable':
        return stream.bytesArrived();
      case 'stream-writable':
        return stream.creditArrived();
      case 'stream-finished':
        return stream.peerFinished();
      case 'stream-closed':
        this.#opening.get(event.stream)?.reject(new ShellstreamError(event.reason));
        this.#opening.delete(event.stream);
        return stream.closedByPeer(event.reason);
    }
    assertNever(event);
  }

  /** The session is over. */
  closeAll(reason: Reason): void {
    for (const { reject } of this.#opening.values()) reject(new ShellstreamError(reason));
    this.#opening.clear();
    for (const stream of this.all) stream.closedByPeer(reason);
  }

  #add(stream: number, target: Target, openedBy: 'local' | 'peer'): SessionStream {
    const added = new SessionStream(this.#wire, { stream, target, openedBy, openedAtMs: this.#clock.now() });
    this.#streams.set(stream, added);
    added.once('close', () => {
      if (this.#streams.delete(stream)) add(this.#closed, added);
    });
    // Whoever holds the stream sees the error there; one that nobody took up must not end the process.
    added.on('error', () => undefined);
    return added;
  }

  #join(stream: SessionStream, descriptor: Disposable): void {
    const { address } = stream.target.prefix;
    const { port } = stream.target;
    const fromTarget = (length: number, bytes: Uint8Array): boolean =>
      stream.feed(bytes.subarray(0, length), () => socket.resume());
    const socket = connect({
      host: formatAddress(address),
      port,
      allowHalfOpen: true,
      onread: { buffer: READING, callback: fromTarget },
    }).setNoDelay(true);
    const unreachable = (): void => void stream.destroy(new ShellstreamError('TARGET_UNREACHABLE'));
    const timeout = this.#clock.after(CONNECT_TIMEOUT_MS, unreachable);
    socket.once('error', unreachable);
    socket.once('close', () => descriptor[Symbol.dispose]());
    // Before the pipelines hear of the error: they would close the socket in order, and what the target was cut off
    // from must not look whole to it.
    stream.once('error', () => cut(socket));
    stream.once('close', () => {
      timeout.cancel();
      if (stream.errored !== null || !socket.writableFinished) cut(socket);
      else socket.destroySoon();
    });
    socket.once('connect', () => {
      timeout.cancel();
      this.#wire.act((channel) => channel.accept(stream.stream));
      socket.once('end', () => stream.end());
      // Errors end both by the stream's own end.
      pipeline(stream, socket).catch(() => undefined);
    });
  }
}

function add(totals: { streams: number; receivedBytes: bigint; sentBytes: bigint }, stream: SessionStream): void {
  totals.streams += 1;
  totals.receivedBytes += stream.receivedBytes;
  totals.sentBytes += stream.sentBytes;
}

/** By a reset; one that is not connected yet just goes. */
function cut(socket: Socket): void {
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

/** What decides about a stream that the peer asks for. */
export interface StreamJudgement {
  readonly grant: Admission['grant'];
  /** The lower of both ends' levels now. */
  readonly level: number;
}

function refuse(target: Target, { grant, level }: StreamJudgement): Reason | undefined {
  if (!grant.capabilities.includes('CONNECT')) return 'CAPABILITY_NOT_GRANTED';
  const granted = grant.targets.find((candidate) => containsTarget(candidate, target));
  if (granted === undefined) return 'TARGET_NOT_ALLOWED';
  return level < granted.floor ? 'POSTURE_CHANGED' : undefined;
}
