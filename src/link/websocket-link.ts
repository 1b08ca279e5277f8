/** A WebSocket of `ws` as a link: one binary message is one record; anything else of the peer ends it. */
import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import { BaseLink } from './base-link.ts';
import { MAX_RECORD_BYTES } from './link.ts';
import { socketEnds } from './socket-ends.ts';

export const SUBPROTOCOL = 'shellstream.v1';

/** What both ends ask of `ws`. */
export const WEBSOCKET_LIMITS = {
  // Compression of secrets beside chosen text, and a bomb.
  perMessageDeflate: false,
  maxPayload: MAX_RECORD_BYTES,
  // A record in thousands of slivers costs more to keep than to send.
  maxFragments: 64,
  maxBufferedChunks: 4_096,
  // Answers to pings that a peer does not read; then it is cut.
  maxPendingAutoPongs: 16,
  // How long a peer that does not answer our close is waited for, milliseconds.
  closeTimeout: 2_000,
} as const;

const KEEPALIVE_MS = 30_000;
const UNSUPPORTED_DATA = 1003;
const NORMAL = 1000;

export class WebSocketLink extends BaseLink {
  readonly #webSocket: WebSocket;
  #error: (Error & { code?: string }) | undefined;

  constructor(webSocket: WebSocket, socket: Socket) {
    super(socketEnds(socket));
    this.#webSocket = webSocket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    webSocket.pause();
    webSocket.on('message', (data, isBinary) => this.#take(data, isBinary));
    webSocket.on('error', (error) => {
      this.#error = error;
      // `ws` would wait for the answer to its close frame, of a peer that has just broken the rules.
      webSocket.terminate();
    });
    webSocket.once('close', (code) => this.#closed(code));
  }

  /** For the listener: at once and without a word. */
  abort(): void {
    this.cut('CLOSED', 'the listener ended');
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount;
  }

  protected write(record: Uint8Array): void {
    this.#webSocket.send(record, this.#sent);
  }

  protected setReading(isReading: boolean): void {
    if (isReading) this.#webSocket.resume();
    else this.#webSocket.pause();
  }

  protected shut(): void {
    this.#webSocket.close(NORMAL);
  }

  protected destroy(): void {
    this.#webSocket.terminate();
  }

  readonly #sent = (): void => {
    this.inbox.taken(this.bufferedBytes);
  };

  #take(data: RawData, isBinary: boolean): void {
    if (this.isClosed) return;
    if (!isBinary || !Buffer.isBuffer(data) || data.length === 0) {
      this.#webSocket.close(UNSUPPORTED_DATA);
      this.cut('MALFORMED', isBinary ? 'an empty record' : 'a text frame');
      return;
    }
    // No Buffer: its `slice` is a view, and what is kept of a record must not change with the next.
    this.inbox.deliver(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  #closed(code: number): void {
    if (this.#error?.code?.startsWith('WS_ERR_') === true) this.gone('MALFORMED', this.#error.message);
    else if (this.#error !== undefined) this.gone('CONNECTION_LOST', this.#error.message);
    else if (code === 1006) this.gone('CONNECTION_LOST', 'without a close frame');
    else this.gone('CLOSED', `code ${code}`);
  }
}
