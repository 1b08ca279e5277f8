/**
 * Records over a byte stream, for the console's unix socket: `u32 big-endian length ‖ record`. The length is
 * checked before a byte of the record is kept, so what a stranger can make us hold is one record.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import { BaseLink } from './base-link.ts';
import type { Link } from './link.ts';
import { socketEnds } from './socket-ends.ts';

export interface FramedListenOptions {
  /** A socket file that does not exist yet. */
  readonly path: string;
  /** Permissions of the socket file from its first moment; 0o600 unless told. */
  readonly mode?: number;
  readonly maxConnections?: number;
  readonly accept: (link: Link) => void;
  readonly clock?: Clock;
}

/** Disposing ends all links too. */
export interface FramedListener extends AsyncDisposable {
  readonly path: string;
}

export async function listenFramed(options: FramedListenOptions): Promise<FramedListener> {
  const links = new Set<FramedLink>();
  const server = createServer((socket) => {
    const link = new FramedLink(socket, options.clock ?? systemClock);
    links.add(link);
    socket.once('close', () => links.delete(link));
    options.accept(link);
  });
  server.maxConnections = options.maxConnections ?? 64;
  const mask = process.umask(0o777 & ~(options.mode ?? 0o600));
  try {
    // Binds before it returns: nobody can connect while the permissions are still open.
    server.listen(options.path);
  } finally {
    process.umask(mask);
  }
  await once(server, 'listening');
  return {
    path: options.path,
    async [Symbol.asyncDispose]() {
      for (const link of links) link.abort();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** @throws ShellstreamError CONNECTION_LOST */
export async function dialFramed(
  path: string,
  options: { readonly clock?: Clock; readonly maxRecordBytes?: number } = {},
): Promise<Link> {
  const socket = connect({ path });
  try {
    await once(socket, 'connect');
  } catch (cause) {
    socket.destroy();
    throw new ShellstreamError('CONNECTION_LOST', `cannot connect to ${path}`, { cause });
  }
  return new FramedLink(socket, options.clock ?? systemClock, options.maxRecordBytes);
}

const HEADER_BYTES = 4;
/** For what is buffered when a link closes. */
const LINGER_MS = 2_000;

export class FramedLink extends BaseLink {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #parts: Uint8Array[] = [];
  #partBytes = 0;
  /** Bytes of the record that is coming; undefined while its header is. */
  #expected: number | undefined;
  #error: Error | undefined;
  #linger: Timer | undefined;

  /** @param maxRecordBytes what either end may send at once, where the ends are processes of one program */
  constructor(socket: Socket, clock: Clock, maxRecordBytes?: number) {
    super(socketEnds(socket), maxRecordBytes);
    this.#socket = socket;
    this.#clock = clock;
    socket.pause();
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.once('close', () => this.#closed());
  }

  /** For the listener: at once and without a word. */
  abort(): void {
    this.cut('CLOSED', 'the listener ended');
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  protected write(record: Uint8Array): void {
    const header = new Uint8Array(HEADER_BYTES);
    new DataView(header.buffer).setUint32(0, record.length);
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(record, () => this.inbox.taken(this.bufferedBytes));
    this.#socket.uncork();
  }

  protected setReading(isReading: boolean): void {
    if (isReading) this.#socket.resume();
    else this.#socket.pause();
  }

  protected shut(): void {
    this.#socket.end();
    this.#linger = this.#clock.after(LINGER_MS, () => this.#socket.destroy());
  }

  protected destroy(): void {
    this.#socket.destroy();
  }

  #closed(): void {
    this.#linger?.cancel();
    if (this.#error !== undefined) this.gone('CONNECTION_LOST', this.#error.message);
    else if (this.#partBytes > 0 || this.#expected !== undefined) this.gone('CONNECTION_LOST', 'inside a record');
    else this.gone('CLOSED');
  }

  #take(chunk: Uint8Array): void {
    let rest = chunk;
    while (rest.length > 0 && !this.isClosed) {
      const missing = (this.#expected ?? HEADER_BYTES) - this.#partBytes;
      const part = rest.subarray(0, missing);
      rest = rest.subarray(part.length);
      this.#parts.push(part);
      this.#partBytes += part.length;
      if (part.length === missing) this.#complete();
    }
  }

  #complete(): void {
    const whole = this.#join();
    if (this.#expected !== undefined) {
      this.#expected = undefined;
      this.inbox.deliver(whole);
      return;
    }
    const length = new DataView(whole.buffer).getUint32(0);
    if (length === 0 || length > this.maxRecordBytes) this.cut('MALFORMED', `a record of ${length} bytes`);
    else this.#expected = length;
  }

  #join(): Uint8Array {
    const whole = new Uint8Array(this.#partBytes);
    let offset = 0;
    for (const part of this.#parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    this.#parts.length = 0;
    this.#partBytes = 0;
    return whole;
  }
}
