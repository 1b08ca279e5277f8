/**
 * Streams of one session joined to TCP sockets, with backpressure both ways: bytes are taken from the channel as the
 * socket writes them, and from the socket as the channel takes them.
 */
import { connect, type Socket } from 'node:net';
import { containsTarget, type Target } from '../../protocol/capability/index.ts';
import type { StreamEvent } from '../../protocol/channel/index.ts';
import { assertNever } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Admission } from '../enforcer/ports.ts';
import type { SessionWire } from './wire.ts';

const CONNECT_TIMEOUT_MS = 10_000;

export interface OpenPipe {
  readonly stream: number;
  readonly target: Target;
  readonly openedBy: 'local' | 'peer';
  readonly openedAtMs: number;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

interface Pipe {
  readonly socket: Socket;
  readonly target: Target;
  readonly openedBy: 'local' | 'peer';
  readonly openedAtMs: number;
  /** Of a socket chunk, what the channel had no room for. */
  waiting: Uint8Array | undefined;
  ended: boolean;
  connecting: Timer | undefined;
  received: bigint;
  sent: bigint;
}

export class StreamPipes {
  readonly #wire: SessionWire;
  readonly #clock: Clock;
  readonly #pipes = new Map<number, Pipe>();

  constructor(wire: SessionWire, clock: Clock) {
    this.#wire = wire;
    this.#clock = clock;
  }

  get open(): readonly OpenPipe[] {
    return [...this.#pipes].map(([stream, { target, openedBy, openedAtMs, received, sent }]) => ({
      stream,
      target,
      openedBy,
      openedAtMs,
      receivedBytes: received,
      sentBytes: sent,
    }));
  }

  /** The peer asks for a stream: judged by what the session was granted and by the level that governs it now. */
  accept(stream: number, target: Target, judgement: StreamJudgement): void {
    const refusal = refuse(target, judgement);
    if (refusal !== undefined) {
      this.#wire.act((channel) => channel.reset(stream, refusal));
      return;
    }
    const socket = connect({ host: formatAddress(target.prefix.address), port: target.port, allowHalfOpen: true });
    const pipe = this.#add(stream, socket, target, 'peer');
    pipe.connecting = this.#clock.after(CONNECT_TIMEOUT_MS, () => this.#drop(stream, 'TARGET_UNREACHABLE'));
    socket.once('connect', () => {
      pipe.connecting?.cancel();
      this.#wire.act((channel) => channel.accept(stream));
    });
  }

  /**
   * A local connection carried to a target behind the peer; the socket must not have been read yet.
   * @throws ShellstreamError STREAM_LIMIT, or the reason of a drain or close
   */
  forward(socket: Socket, target: Target): number {
    const stream = this.#wire.act((channel) => channel.open(target));
    this.#add(stream, socket, target, 'local');
    return stream;
  }

  handle(event: Exclude<StreamEvent, { type: 'stream-opened' }>): void {
    const pipe = this.#pipes.get(event.stream);
    if (pipe === undefined) return;
    switch (event.type) {
      case 'stream-accepted':
        return;
      case 'stream-readable':
        return this.#drain(event.stream, pipe);
      case 'stream-writable':
        return this.#resume(event.stream, pipe);
      case 'stream-finished':
        pipe.socket.end();
        return;
      case 'stream-closed':
        this.#pipes.delete(event.stream);
        pipe.connecting?.cancel();
        pipe.socket.destroy();
        return;
    }
    assertNever(event);
  }

  /** The session is over. */
  closeAll(): void {
    for (const { socket, connecting } of this.#pipes.values()) {
      connecting?.cancel();
      socket.destroy();
    }
    this.#pipes.clear();
  }

  #add(stream: number, socket: Socket, target: Target, openedBy: 'local' | 'peer'): Pipe {
    const pipe: Pipe = {
      socket,
      target,
      openedBy,
      openedAtMs: this.#clock.now(),
      waiting: undefined,
      ended: false,
      connecting: undefined,
      received: 0n,
      sent: 0n,
    };
    this.#pipes.set(stream, pipe);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#write(stream, pipe, chunk));
    socket.once('end', () => {
      pipe.ended = true;
      if (pipe.waiting === undefined) this.#wire.act((channel) => channel.finish(stream));
    });
    socket.once('error', () => this.#drop(stream, 'TARGET_UNREACHABLE'));
    socket.once('close', () => this.#drop(stream, 'CLOSED'));
    return pipe;
  }

  /** Socket to channel. */
  #write(stream: number, pipe: Pipe, chunk: Uint8Array): void {
    const taken = this.#wire.act((channel) => channel.write(stream, chunk));
    pipe.sent += BigInt(taken);
    if (taken < chunk.length) {
      pipe.waiting = chunk.subarray(taken);
      pipe.socket.pause();
    } else {
      pipe.waiting = undefined;
    }
  }

  #resume(stream: number, pipe: Pipe): void {
    if (pipe.waiting !== undefined) this.#write(stream, pipe, pipe.waiting);
    if (pipe.waiting !== undefined) return;
    if (pipe.ended) this.#wire.act((channel) => channel.finish(stream));
    else pipe.socket.resume();
  }

  /** Channel to socket: a byte is given back as credit only when the socket has written it. */
  #drain(stream: number, pipe: Pipe): void {
    for (;;) {
      const bytes = this.#wire.act((channel) => channel.read(stream));
      if (bytes === undefined) return;
      pipe.received += BigInt(bytes.length);
      pipe.socket.write(bytes, (error) => {
        if (!error) this.#wire.act((channel) => channel.consumed(stream, bytes.length));
      });
    }
  }

  #drop(stream: number, reason: Reason): void {
    const pipe = this.#pipes.get(stream);
    if (pipe === undefined) return;
    this.#pipes.delete(stream);
    pipe.connecting?.cancel();
    pipe.socket.destroy();
    this.#wire.act((channel) => channel.reset(stream, reason));
  }
}

/** What decides about a stream that the peer asks for. */
export interface StreamJudgement {
  readonly grant: Admission['grant'];
  /** Lower of both ends' now. */
  readonly level: number;
}

function refuse(target: Target, { grant, level }: StreamJudgement): Reason | undefined {
  if (!grant.capabilities.includes('CONNECT')) return 'CAPABILITY_NOT_GRANTED';
  const granted = grant.targets.find((candidate) => containsTarget(candidate, target));
  if (granted === undefined) return 'TARGET_NOT_ALLOWED';
  return level < granted.floor ? 'POSTURE_CHANGED' : undefined;
}
