/** What every link promises, on all three. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { dialFramed, listenFramed } from './framed.ts';
import { HIGH_WATER_BYTES, type Link, MAX_BUFFERED_BYTES, MAX_RECORD_BYTES } from './link.ts';
import { memoryLinkPair } from './memory.ts';
import { dialWebSocket } from './websocket-client.ts';
import { listenWebSocket } from './websocket-server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const KINDS: Readonly<Record<string, () => Promise<{ near: Link; far: Link }>>> = {
  memory: async () => {
    const { initiator, responder, cut } = memoryLinkPair();
    cleanups.push(async () => cut());
    return { near: initiator, far: responder };
  },
  'framed unix socket': async () => {
    const folder = await mkdtemp(join(tmpdir(), 'shs-link-'));
    cleanups.push(() => rm(folder, { recursive: true }));
    const accepted = Promise.withResolvers<Link>();
    const listener = await listenFramed({ path: join(folder, 's'), accept: accepted.resolve });
    cleanups.push(async () => listener[Symbol.asyncDispose]());
    const near = await dialFramed(listener.path);
    return { near, far: await accepted.promise };
  },
  websocket: async () => {
    const accepted = Promise.withResolvers<Link>();
    const listener = await listenWebSocket({
      address: '127.0.0.1',
      port: 0,
      accept: accepted.resolve,
      admit: () => true,
    });
    cleanups.push(async () => listener[Symbol.asyncDispose]());
    const near = await dialWebSocket(`ws://127.0.0.1:${listener.port}/`, { timeoutMs: 30_000 });
    return { near, far: await accepted.promise };
  },
};

describe.each(Object.entries(KINDS))('a %s link', (_kind, join) => {
  it('carries records of every size whole and in order, both ways', async () => {
    const { near, far } = await join();
    const sizes = [1, 2, 125, 126, 127, 65_535, 65_536, MAX_RECORD_BYTES, 1];
    const there = collect(far, sizes.length);
    const back = collect(near, sizes.length);
    for (const [i, size] of sizes.entries()) {
      near.send(record(size, i));
      far.send(record(size, 100 + i));
    }
    expect((await there).map(digest)).toEqual(sizes.map((size, i) => digest(record(size, i))));
    expect((await back).map(digest)).toEqual(sizes.map((size, i) => digest(record(size, 100 + i))));
  });

  it('gives plain Uint8Arrays, so that a slice is a copy', async () => {
    const { near, far } = await join();
    const records = collect(far, 1);
    near.send(record(10, 1));
    expect(Object.getPrototypeOf((await records)[0])).toBe(Uint8Array.prototype);
  });

  it('keeps records for a listener that comes late, and for the next one', async () => {
    const { near, far } = await join();
    near.send(record(3, 1));
    near.send(record(3, 2));
    await turns();
    const first = await collect(far, 1);
    await turns();
    const rest = collect(far, 1);
    far.resume();
    expect([...first, ...(await rest)].map((one) => one[0])).toEqual([1, 2]);
  });

  it('delivers not one record more after pause, even of those that came together', async () => {
    const { near, far } = await join();
    const got: number[] = [];
    const second = Promise.withResolvers<void>();
    far.onRecord((one) => {
      got.push(one[0] ?? 0);
      if (got.length === 2) {
        far.pause();
        second.resolve();
      }
    });
    const last = 6;
    for (let i = 1; i <= last; i++) near.send(record(4, i));
    await second.promise;
    await turns();
    expect(got).toEqual([1, 2]);
    const rest = collect(far, last - 2);
    far.resume();
    expect((await rest).map((one) => one[0])).toEqual([3, 4, 5, 6]);
  });

  it('says when to wait and when there is room again', async () => {
    const { near, far } = await join();
    const drained = new Promise<void>((resolve) => near.onDrain(resolve));
    far.onRecord(() => {});
    far.pause();
    while (near.send(record(60_000, 1)));
    expect(near.bufferedBytes).toBeGreaterThan(HIGH_WATER_BYTES);
    far.resume();
    await drained;
    expect(near.bufferedBytes).toBeLessThan(HIGH_WATER_BYTES);
    expect(near.send(record(1, 1))).toBe(true);
  });

  it('is cut when its peer never reads and its owner sends on', async () => {
    const { near, far } = await join();
    far.onRecord(() => {});
    far.pause();
    const closed = ending(near);
    let most = 0;
    for (let i = 0; i < 500 && !near.isClosed; i++) {
      near.send(record(60_000, 1));
      most = Math.max(most, near.bufferedBytes);
    }
    expect(await closed).toBe('OVERLOADED');
    expect(most).toBeLessThanOrEqual(MAX_BUFFERED_BYTES);
  });

  it('sends what was buffered before it closes, and tells both ends once', async () => {
    const { near, far } = await join();
    const ends: string[] = [];
    const farClosed = new Promise<void>((resolve) =>
      far.onClose((reason) => {
        ends.push(`far ${reason}`);
        resolve();
      }),
    );
    const nearClosed = ending(near, (reason) => ends.push(`near ${reason}`));
    const records = collect(far, 3);
    for (let i = 0; i < 3; i++) near.send(record(60_000, i));
    near.close();
    near.close();
    expect(near.isClosed).toBe(true);
    expect(near.send(record(1, 1))).toBe(false);
    expect(await records).toHaveLength(3);
    far.resume();
    await Promise.all([farClosed, nearClosed]);
    await turns();
    expect(ends.sort()).toEqual(['far CLOSED', 'near CLOSED']);
  });

  it('tells the end to a listener that comes after it', async () => {
    const { near, far } = await join();
    near.onRecord(() => {});
    far.onRecord(() => {});
    const nearClosed = ending(near);
    near.close();
    await nearClosed;
    await turns();
    expect(await ending(far)).toBe('CLOSED');
  });

  it('delivers nothing after its own close', async () => {
    const { near, far } = await join();
    const got: Uint8Array[] = [];
    near.onRecord((one) => got.push(one));
    const closed = ending(near);
    far.send(record(5, 1));
    near.close();
    await closed;
    expect(got).toEqual([]);
  });

  it('whose listener throws ends with INTERNAL and takes nothing else with it', async () => {
    const { near, far } = await join();
    far.onRecord(() => {
      throw new Error('a fault of ours');
    });
    const closed = ending(far);
    near.send(record(5, 1));
    expect(await closed).toBe('INTERNAL');
  });

  it('refuses to send a record that is empty or too long', async () => {
    const { near } = await join();
    for (const size of [0, MAX_RECORD_BYTES + 1]) {
      expect(reasonThrownBy(() => near.send(record(size, 1)))).toBe('INTERNAL');
    }
  });

  it('knows both ends', async () => {
    const { near, far } = await join();
    expect([near.remoteAddress, near.remotePort]).toEqual([far.localAddress, far.localPort]);
    expect([far.remoteAddress, far.remotePort]).toEqual([near.localAddress, near.localPort]);
  });
});

/** The next records; the link is paused behind them. */
function collect(link: Link, count: number): Promise<Uint8Array[]> {
  const records: Uint8Array[] = [];
  return new Promise((resolve) => {
    link.onRecord((one) => {
      records.push(one);
      if (records.length < count) return;
      link.pause();
      resolve(records);
    });
  });
}

function ending(link: Link, also: (reason: string) => void = () => {}): Promise<string> {
  return new Promise((resolve) =>
    link.onClose((reason) => {
      also(reason);
      resolve(reason);
    }),
  );
}

/** Several turns of the event loop, with I/O in each. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

function record(size: number, first: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (first + i * 31) & 0xff;
  return bytes;
}

function digest(bytes: Uint8Array): string {
  return `${bytes.length}:${bytes.reduce((sum, byte, i) => (sum * 31 + byte + i) % 1_000_000_007, 7)}`;
}

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
