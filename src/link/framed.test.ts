/** Attacks on the length prefix, and the socket file's own permissions. */
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { dialFramed, listenFramed } from './framed.ts';
import { type Link, MAX_RECORD_BYTES } from './link.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it('what is sent in one turn leaves together, unless it is much: then the other end hears of it before the turn is over', async () => {
  const { link } = await joined();
  link.send(new Uint8Array(1_000));
  expect(link.bufferedBytes).toBe(1_004);
  for (let sent = 0; sent < 100; sent += 1) link.send(new Uint8Array(1_000));
  expect(link.bufferedBytes).toBeLessThan(17_000);
});

describe('a stranger at the socket', () => {
  it('that sends its record one byte at a time is understood', async () => {
    const { link, socket } = await joined();
    const record = new Promise((resolve) => link.onRecord(resolve));
    for (const byte of [0, 0, 0, 3, 7, 8, 9]) socket.write(Uint8Array.of(byte));
    expect(await record).toEqual(Uint8Array.of(7, 8, 9));
  });

  it.each<readonly [string, readonly number[]]>([
    ['an empty record', [0, 0, 0, 0]],
    ['4 GiB', [255, 255, 255, 255, 1, 2, 3]],
    ['one byte over the limit', [0, 1, 0, MAX_RECORD_BYTES + 1 - 65_536]],
  ])('that announces %s is cut before anything is kept', async (_name, bytes) => {
    const { ended, socket } = await joined();
    socket.write(Uint8Array.from(bytes));
    expect(await ended).toBe('MALFORMED');
  });

  it.each<readonly [string, readonly number[]]>([
    ['its header', [0, 0]],
    ['a record', [0, 0, 0, 9, 1, 2]],
    ['its header and its record', [0, 0, 0, 9]],
  ])('that leaves within %s is told as a lost connection', async (_name, bytes) => {
    const { ended, socket } = await joined();
    socket.end(Uint8Array.from(bytes));
    expect(await ended).toBe('CONNECTION_LOST');
  });

  it('that leaves between records has closed', async () => {
    const { ended, socket } = await joined();
    socket.end(Uint8Array.of(0, 0, 0, 1, 5));
    expect(await ended).toBe('CLOSED');
  });

  it('is one too many beyond the limit', async () => {
    const { socket, path } = await joined({ maxConnections: 1 });
    const second = connect({ path });
    second.on('error', () => {});
    second.resume();
    await once(second, 'close');
    expect(socket.destroyed).toBe(false);
  });
});

describe('the socket file', () => {
  it('is for its owner only, from its first moment, and gone with the listener', async () => {
    const before = process.umask();
    const { path, listener } = await joined();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(before);
    await listener[Symbol.asyncDispose]();
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });

  it('that nobody serves cannot be dialled', async () => {
    const { path, listener } = await joined();
    await listener[Symbol.asyncDispose]();
    expect(await dialFramed(path).then(() => 'connected', reasonOf)).toBe('CONNECTION_LOST');
  });
});

async function joined(options: { maxConnections?: number } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'shs-framed-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 's');
  const accepted = Promise.withResolvers<Link>();
  const listener = await listenFramed({ path, accept: accepted.resolve, ...options });
  cleanups.push(async () => listener[Symbol.asyncDispose]());
  const socket: Socket = connect({ path });
  cleanups.push(() => socket.destroy());
  socket.on('error', () => {});
  socket.resume();
  const link = await accepted.promise;
  link.onRecord(() => {});
  const ended = new Promise<string>((resolve) => link.onClose(resolve));
  return { path, listener, socket, link, ended };
}
