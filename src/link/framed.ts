/**
 * Records over a byte stream, for the console's unix socket: `u32 big-endian length ‖ record`. The length is
 * checked before a byte of the record is kept, so what a stranger can make us hold is one record.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { afterThisTurn, type Clock, systemClock, type Timer } from '../base/clock.ts';
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
/** A turn that goes through thousands of sessions is heard of before its end. */
const MOST_UNSENT_BYTES = 16_384;
/** For what is buffered when a link closes. */
const LINGER_MS = 2_000;

export class FramedLink extends BaseLink {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #reader: RecordReader;
  /** Framed records of this turn of the event loop; they leave together when it ends, or are many. */
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #isWanted = false;
  #error: Error | undefined;
  #linger: Timer | undefined;

  /** @param maxRecordBytes what either end may send at once, where the ends are processes of one program */
  constructor(socket: Socket, clock: Clock, maxRecordBytes?: number) {
    super(socketEnds(socket), maxRecordBytes);
    this.#socket = socket;
    this.#clock = clock;
    this.#reader = new RecordReader(this.maxRecordBytes);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('drain', () => this.inbox.taken(this.bufferedBytes));
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
    return this.#socket.writableLength + this.#unsentBytes;
  }

  /** Between processes a write costs more than what is written: records of many sessions share one. */
  protected write(record: Uint8Array): void {
    const framed = Buffer.allocUnsafe(HEADER_BYTES + record.length);
    framed.writeUInt32BE(record.length);
    framed.set(record, HEADER_BYTES);
    this.#unsent.push(framed);
    this.#unsentBytes += framed.length;
    if (this.#unsentBytes >= MOST_UNSENT_BYTES) this.#flush();
    else if (this.#unsent.length === 1) afterThisTurn(() => this.#flush());
  }

  /** As in `WebSocketLink`: the socket is stopped only when something comes that nobody waits for. */
  protected setReading(isReading: boolean): void {
    this.#isWanted = isReading;
    if (isReading && this.#socket.isPaused()) this.#socket.resume();
  }

  protected shut(): void {
    this.#flush();
    this.#socket.end();
    this.#linger = this.#clock.after(LINGER_MS, () => this.#socket.destroy());
  }

  protected destroy(): void {
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#socket.destroy();
  }

  #flush(): void {
    const [first] = this.#unsent;
    if (first === undefined) return;
    const whole = this.#unsent.length === 1 ? first : Buffer.concat(this.#unsent, this.#unsentBytes);
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (!this.#socket.destroyed) this.#socket.write(whole);
  }

  #closed(): void {
    this.#linger?.cancel();
    if (this.#error !== undefined) this.gone('CONNECTION_LOST', this.#error.message);
    else if (this.#reader.isInside) this.gone('CONNECTION_LOST', 'inside a record');
    else this.gone('CLOSED');
  }

  #take(chunk: Uint8Array): void {
    if (!this.#isWanted) this.#socket.pause();
    let rest = chunk;
    while (rest.length > 0 && !this.isClosed) {
      const read = this.#reader.read(rest);
      rest = read.rest;
      if (read.record !== undefined) this.inbox.deliver(read.record);
      if (read.badLength !== undefined) this.cut('MALFORMED', `a record of ${read.badLength} bytes`);
    }
  }
}

interface Read {
  readonly rest: Uint8Array;
  readonly record?: Uint8Array;
  /** What a header announced; nothing can be read any more. */
  readonly badLength?: number;
}

/** Cuts a stream of bytes into records, each a copy that holds nothing else. */
class RecordReader {
  readonly #maxRecordBytes: number;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  /** The record that is coming, once its header is here. */
  #record: Uint8Array | undefined;
  #recordBytes = 0;

  constructor(maxRecordBytes: number) {
    this.#maxRecordBytes = maxRecordBytes;
  }

  get isInside(): boolean {
    return this.#headerBytes > 0;
  }

  read(chunk: Uint8Array): Read {
    if (this.#record === undefined) return this.#readHeader(chunk);
    const part = chunk.subarray(0, this.#record.length - this.#recordBytes);
    this.#record.set(part, this.#recordBytes);
    this.#recordBytes += part.length;
    const rest = chunk.subarray(part.length);
    if (this.#recordBytes < this.#record.length) return { rest };
    const record = this.#record;
    this.#record = undefined;
    this.#headerBytes = 0;
    return { rest, record };
  }

  #readHeader(chunk: Uint8Array): Read {
    const part = chunk.subarray(0, HEADER_BYTES - this.#headerBytes);
    this.#header.set(part, this.#headerBytes);
    this.#headerBytes += part.length;
    const rest = chunk.subarray(part.length);
    if (this.#headerBytes < HEADER_BYTES) return { rest };
    const length = new DataView(this.#header.buffer).getUint32(0);
    if (length === 0 || length > this.#maxRecordBytes) return { rest, badLength: length };
    this.#record = new Uint8Array(length);
    this.#recordBytes = 0;
    return { rest };
  }
}
