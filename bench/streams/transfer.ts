/** What is carried, and how its two ends speak, whatever lies between them. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import type { Duplex } from 'node:stream';

export type Direction = 'up' | 'down';

/** What one call of `write` hands over. */
export const CHUNK_BYTES = 65_536;

const CHUNK = Buffer.alloc(CHUNK_BYTES, 0x5a);
const HEADER_BYTES = 9;
const UP = 0x75;
const DOWN = 0x64;

/** The asking end: resolves when all bytes have arrived, at whichever end. */
export async function transfer(stream: Duplex, direction: Direction, bytes: number): Promise<void> {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = direction === 'up' ? UP : DOWN;
  header.writeBigUInt64BE(BigInt(bytes), 1);
  stream.write(header);
  const expected = direction === 'up' ? 1 : bytes;
  const received = take(stream, expected);
  if (direction === 'up') await pour(stream, bytes);
  await received;
  stream.end();
  await once(stream, 'close');
}

/** The serving end of one connection. */
export function serve(stream: Duplex): void {
  stream.on('error', () => stream.destroy());
  stream.once('data', (first: Buffer) => {
    const isUp = first[0] === UP;
    const bytes = Number(first.readBigUInt64BE(1));
    if (isUp) {
      void take(stream, bytes, first.length - HEADER_BYTES).then(() => stream.write(Buffer.of(1)));
    } else {
      void pour(stream, bytes);
    }
    stream.once('end', () => stream.end());
    stream.resume();
  });
}

/** A plain TCP server of transfers on a free port of 127.0.0.1. */
export async function listen(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { server, port: address.port };
}

async function pour(stream: Duplex, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    if (!stream.write(CHUNK.subarray(0, Math.min(left, CHUNK_BYTES)))) await once(stream, 'drain');
  }
}

function take(stream: Duplex, bytes: number, already = 0): Promise<void> {
  let left = bytes - already;
  return new Promise((resolve, reject) => {
    stream.once('error', reject);
    stream.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left === 0) resolve();
      else if (left < 0) reject(new Error('more bytes than were asked for'));
    });
  });
}
