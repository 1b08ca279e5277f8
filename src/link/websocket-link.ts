/** A WebSocket as a link: one binary message is one record; anything else of the peer ends it. */
import type { Socket } from 'node:net';
import { Receiver } from 'ws';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import { BaseLink } from './base-link.ts';
import { MAX_RECORD_BYTES } from './link.ts';
import { socketEnds } from './socket-ends.ts';
import { closeFrame, frameHeader, OPCODE, type WebSocketEnd, wholeFrame } from './websocket-frames.ts';

const PARSER_LIMITS = {
  maxPayload: MAX_RECORD_BYTES,
  // A record in thousands of slivers costs more to keep than to send.
  maxFragments: 64,
  maxBufferedChunks: 4_096,
  // Texts are refused as such.
  skipUTF8Validation: true,
} as const;

/** Answers to pings that a peer does not read; then it is cut. */
const MAX_UNSENT_PONGS = 16;
/** How long a peer that does not answer our close is waited for. */
const CLOSE_TIMEOUT_MS = 2_000;
/** Above it a record is not copied behind its header, but handed over beside it. */
const COPIED_BYTES = 4_096;

const NORMAL = 1000;
const UNSUPPORTED_DATA = 1003;
/** What `ws` says of a close frame without a code. */
const NO_CODE = 1005;

export class WebSocketLink extends BaseLink {
  readonly #socket: Socket;
  readonly #end: WebSocketEnd;
  readonly #clock: Clock;
  readonly #receiver: Receiver;
  #isWanted = false;
  #unsentPongs = 0;
  #closeSent = false;
  /** The code of the peer's close frame. */
  #closeReceived: number | undefined;
  #closeTimer: Timer | undefined;
  #error: (Error & { readonly code?: string }) | undefined;

  /** @param head what came behind the upgrade. The socket was used by nobody else since. */
  constructor(socket: Socket, head: Uint8Array, end: WebSocketEnd, clock: Clock = systemClock) {
    super(socketEnds(socket));
    this.#socket = socket;
    this.#end = end;
    this.#clock = clock;
    this.#receiver = new Receiver({ ...PARSER_LIMITS, isServer: end === 'server' });
    this.#receiver.on('message', (data: Buffer, isBinary: boolean) => this.#take(data, isBinary));
    this.#receiver.on('ping', (data: Buffer) => this.#answerPing(data));
    this.#receiver.on('conclude', (code: number) => this.#concluded(code));
    this.#receiver.on('error', (error) => this.cut('MALFORMED', error.message));
    if (head.length > 0) socket.unshift(head);
    socket.on('data', (chunk: Buffer) => this.#parse(chunk));
    // Nobody sends what the other end has stopped reading.
    socket.once('end', () => socket.destroy());
    socket.on('error', (error) => {
      this.#error ??= error;
      socket.destroy();
    });
    socket.on('drain', () => this.inbox.taken(this.bufferedBytes));
    socket.once('close', () => this.#closed());
  }

  /** For the listener: at once and without a word. */
  abort(): void {
    this.cut('CLOSED', 'the listener ended');
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  override together(action: () => void): void {
    this.#socket.cork();
    try {
      action();
    } finally {
      this.#socket.uncork();
    }
  }

  protected write(record: Uint8Array): void {
    if (record.length <= COPIED_BYTES) {
      this.#socket.write(wholeFrame(OPCODE.binary, record, this.#end));
      return;
    }
    this.#socket.cork();
    this.#socket.write(frameHeader(OPCODE.binary, record.length, this.#end));
    this.#socket.write(record);
    this.#socket.uncork();
  }

  /**
   * Whoever takes records one by one stops and starts between them. The socket is stopped only when something comes that
   * nobody waits for, and that chunk is the last: most of the time nothing comes, and nothing needs to be done.
   */
  protected setReading(isReading: boolean): void {
    this.#isWanted = isReading;
    if (isReading && this.#socket.isPaused()) this.#socket.resume();
  }

  protected shut(): void {
    this.#sendClose(NORMAL);
    this.#closeTimer ??= this.#clock.after(CLOSE_TIMEOUT_MS, () => this.#socket.destroy());
  }

  protected destroy(): void {
    this.#socket.destroy();
  }

  #parse(chunk: Buffer): void {
    if (!this.#isWanted) this.#socket.pause();
    // It parses at once and keeps at most one record, so its advice when to go on is not needed.
    if (this.#closeReceived === undefined && !this.#receiver.destroyed) this.#receiver.write(chunk);
  }

  #take(data: Buffer, isBinary: boolean): void {
    if (this.isClosed) return;
    if (!isBinary || data.length === 0) {
      this.#sendClose(UNSUPPORTED_DATA);
      this.cut('MALFORMED', isBinary ? 'an empty record' : 'a text frame');
      return;
    }
    // No Buffer: its `slice` is a view, and what is kept of a record must not change with the next.
    this.inbox.deliver(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  #answerPing(data: Buffer): void {
    if (this.#closeSent || this.#socket.destroyed) return;
    this.#unsentPongs += 1;
    if (this.#unsentPongs > MAX_UNSENT_PONGS) {
      this.#socket.destroy();
      return;
    }
    this.#socket.write(wholeFrame(OPCODE.pong, data, this.#end), () => {
      this.#unsentPongs -= 1;
    });
  }

  #concluded(code: number): void {
    this.#closeReceived = code;
    this.#sendClose(code === NO_CODE ? NORMAL : code);
    // §7.1.1: the server ends the connection first, so that the client's port is free at once.
    if (this.#end === 'server') this.#destroyWhenSent();
    else this.#closeTimer ??= this.#clock.after(CLOSE_TIMEOUT_MS, () => this.#socket.destroy());
  }

  #destroyWhenSent(): void {
    if (this.#socket.writableLength === 0) this.#socket.destroy();
    else this.#socket.destroySoon();
  }

  #sendClose(code: number): void {
    if (this.#closeSent || !this.#socket.writable) return;
    this.#closeSent = true;
    this.#socket.write(closeFrame(code, this.#end));
  }

  #closed(): void {
    this.#closeTimer?.cancel();
    this.#receiver.destroy();
    if (this.#closeReceived !== undefined) this.gone('CLOSED', `code ${this.#closeReceived}`);
    else this.gone('CONNECTION_LOST', this.#error?.message ?? 'without a close frame');
  }
}
