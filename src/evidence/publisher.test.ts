import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { describeFinding } from '../../protocol/evidence/index.ts';
import { EvidenceFolder, LOG_KEY, NEXT_KEY, rawRecord } from './fixtures.ts';
import { forgetRecords, pruneLog } from './retention.ts';
import type { Spool } from './spool.ts';
import { serveLog } from './tile-server.ts';

describe('the published log', () => {
  test('is what the spool holds, whole after each step of its growth, and consistent with every step before', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const publisher = await folder.publisher(spool);
    const held: Uint8Array[] = [];
    for (const step of [1, 254, 1, 1, 255, 700]) {
      append(spool, step);
      await publisher.publish();
      expect((await folder.verify({ held })).findings.map(describeFinding)).toEqual([]);
      held.push(readFileSync(join(folder.logPath, 'checkpoint')));
    }
    expect(publisher.published).toBe(1_212);
    expect(await folder.verify()).toMatchObject({ size: 1_212, entries: 1_212 });
  });

  test('goes on from where a restart found it, at any size', async () => {
    using folder = new EvidenceFolder();
    for (const step of [3, 253, 0, 1, 300, 212]) {
      using spool = folder.spool();
      append(spool, step);
      const publisher = await folder.publisher(spool);
      await publisher.publish();
      expect((await folder.verify()).findings).toEqual([]);
    }
    expect((await folder.verify()).size).toBe(769);
  });

  test('a record that was changed before it was published is named, and nothing is published of it', async () => {
    using folder = new EvidenceFolder();
    {
      using spool = folder.spool();
      append(spool, 300);
    }
    {
      // Not among the newest, which are hashed at the start.
      using database = new DatabaseSync(folder.spoolPath);
      database.exec("UPDATE entry SET record = CAST('z' || substr(record, 2) AS BLOB) WHERE seq = 7");
    }
    using spool = folder.spool();
    const publisher = await folder.publisher(spool);
    await expect(publisher.publish()).rejects.toThrow('the record of entry 7 is not what the entry commits to');
    expect(publisher.published).toBe(0);
  });

  test('calls at once share their rounds, and the last of them is published', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const publisher = await folder.publisher(spool);
    const all = Array.from({ length: 20 }, () => {
      append(spool, 10);
      return publisher.publish();
    });
    await Promise.all(all);
    expect(publisher.published).toBe(200);
    expect((await folder.verify()).findings).toEqual([]);
  });

  test('drops partial tiles when the full one is there', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const publisher = await folder.publisher(spool);
    for (let i = 0; i < 26; i += 1) {
      append(spool, 10);
      await publisher.publish();
    }
    expect(readdirSync(join(folder.logPath, 'tile', '0')).sort()).toEqual(['000', '001.p']);
    expect(readdirSync(join(folder.logPath, 'tile', 'entries')).sort()).toEqual(['000', '001.p']);
  });

  test('is signed by both keys while one is changed for the other', async () => {
    using folder = new EvidenceFolder();
    {
      using spool = folder.spool();
      append(spool, 5);
      await (await folder.publisher(spool)).publish();
    }
    const signers = [LOG_KEY, NEXT_KEY];
    using spool = folder.spool({ signers });
    append(spool, 1);
    await (await folder.publisher(spool, signers)).publish();
    const lines = readFileSync(join(folder.logPath, 'checkpoint'), 'utf8').split('\n');
    expect(lines.filter((line) => line.startsWith('— '))).toHaveLength(2);
    expect((await folder.verify()).findings).toEqual([]);
  });
});

describe('what does not fit the spool is named, and not written over', () => {
  const damages: readonly (readonly [string, string, (bytes: Buffer) => Buffer, string])[] = [
    ['a flipped byte in a tile', 'tile/0/001', flip(40), 'tile/0/001: byte 40, entry 257'],
    ['a torn tile', 'tile/0/000', (bytes) => bytes.subarray(0, 4_000), 'tile/0/000: 4000 bytes instead of 8192'],
    ['a torn checkpoint', 'checkpoint', (bytes) => bytes.subarray(0, 30), 'checkpoint: MALFORMED'],
    ['a checkpoint with a flipped byte', 'checkpoint', flip(40), 'checkpoint:'],
  ];
  test.each(damages)('%s', async (_, path, damage, named) => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 600);
    await (await folder.publisher(spool)).publish();
    const file = join(folder.logPath, path);
    writeFileSync(file, damage(readFileSync(file)));
    await expect(folder.publisher(spool)).rejects.toThrow(named);
  });

  test('a spool put back to an older copy: to go on would fork the log', async () => {
    using folder = new EvidenceFolder();
    using older = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 20);
    await (await folder.publisher(spool)).publish();
    using restored = older.spool();
    append(restored, 5);
    const parts = { size: restored.size };
    expect(parts.size).toBe(5);
    await expect(folder.publisher(restored)).rejects.toThrow('it lost 15');
  });

  test('a spool of other records of the same number', async () => {
    using folder = new EvidenceFolder();
    using other = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 20);
    await (await folder.publisher(spool)).publish();
    using foreign = other.spool();
    append(foreign, 20);
    await expect(folder.publisher(foreign)).rejects.toThrow('not those that were published');
  });

  test('a full tile that somebody put there before', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 10);
    const publisher = await folder.publisher(spool);
    await publisher.publish();
    writeFileSync(join(folder.logPath, 'tile', '0', '000'), Buffer.alloc(8_192));
    append(spool, 300);
    await expect(publisher.publish()).rejects.toThrow('tile/0/000: byte 0');
  });

  test('files that are gone, the checkpoint too, are written again from the spool', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 300);
    await (await folder.publisher(spool)).publish();
    rmSync(folder.logPath, { recursive: true });
    await (await folder.publisher(spool)).publish();
    expect((await folder.verify()).findings).toEqual([]);
  });
});

describe('retention', () => {
  test('forgets records and keeps every proof', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 300);
    expect(forgetRecords(spool, 200)).toBe(200);
    expect(spool.reader.entries(199, 201).map(({ opening }) => opening === undefined)).toEqual([true, false]);
    await (await folder.publisher(spool)).publish();
    expect((await folder.verify()).findings).toEqual([]);
  });

  test('prunes whole tiles; the log goes on, and verifies from its minimum index', async () => {
    using folder = new EvidenceFolder();
    const held: Uint8Array[] = [];
    {
      using spool = folder.spool();
      append(spool, 1_000);
      const publisher = await folder.publisher(spool);
      await publisher.publish();
      held.push(readFileSync(join(folder.logPath, 'checkpoint')));
      await expect(pruneLog(spool, publisher, folder.logPath, 900)).rejects.toThrow('beyond 768');
      await pruneLog(spool, publisher, folder.logPath, 600);
      expect((await folder.verify({ minimumIndex: 600 })).findings).toEqual([]);
      expect((await folder.verify()).findings).toHaveLength(1);
    }
    using spool = folder.spool();
    append(spool, 500);
    const publisher = await folder.publisher(spool);
    await publisher.publish();
    expect((await folder.verify({ minimumIndex: 600, held })).findings).toEqual([]);
    await pruneLog(spool, publisher, folder.logPath, 1_024);
    expect((await folder.verify({ minimumIndex: 1_024 })).findings).toEqual([]);
    expect(readdirSync(join(folder.logPath, 'tile', '0')).sort()).toEqual(['004', '005.p']);
  });
});

describe('the log over HTTP', () => {
  test('is its files, with the types and caching of the specification, and nothing else', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 257);
    await (await folder.publisher(spool)).publish();
    writeFileSync(join(folder.logPath, 'secret'), 'x');
    const server = createServer((request, response) => void serveLog('/log', folder.logPath)(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      expect(await get(server, '/log/checkpoint')).toMatchObject({
        status: 200,
        type: 'text/plain; charset=utf-8',
        cache: 'no-cache',
        forPages: '*',
      });
      const tile = await get(server, '/log/tile/0/000');
      expect(tile).toMatchObject({ status: 200, type: 'application/octet-stream', length: 8_192 });
      expect(tile.cache).toContain('immutable');
      expect(await get(server, '/log/tile/entries/001.p/1')).toMatchObject({ status: 200, length: 35 });
      expect(await get(server, '/log/tile/0/001', 'HEAD')).toMatchObject({ status: 404, cache: 'no-store' });
      expect(await get(server, '/log/checkpoint', 'HEAD')).toMatchObject({ status: 200, length: 0 });
      expect(await get(server, '/log/checkpoint', 'PUT')).toMatchObject({ status: 405 });
      for (const path of [
        '/log/secret',
        '/log/../spool/evidence.db',
        '/log/tile/0/%2e%2e',
        '/checkpoint',
        '/log',
        '/log/tile/0/000?x',
        '//log/checkpoint',
      ]) {
        expect(await get(server, path), path).toMatchObject({ status: 404 });
      }
    } finally {
      server.close();
    }
  });
});

let written = 0;
function append(spool: Spool, count: number): void {
  if (count === 0) return;
  spool.append(
    Array.from({ length: count }, () => {
      written += 1;
      return rawRecord(`record ${written}`);
    }),
  );
}

function flip(at: number): (bytes: Buffer) => Buffer {
  return (bytes) => Buffer.from(bytes.with(at, (bytes[at] ?? 0) ^ 1));
}

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly cache: string | undefined;
  readonly forPages: string | undefined;
  readonly length: number;
}

/** Without the normalising of paths that `fetch` does. */
async function get(server: Server, path: string, method = 'GET'): Promise<Answer> {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const asked = httpRequest({ host: '127.0.0.1', port: address.port, path, method, agent: false });
  asked.end();
  const [response] = await once(asked, 'response');
  let length = 0;
  for await (const chunk of response) length += chunk.length;
  const { 'content-type': type, 'cache-control': cache, 'access-control-allow-origin': forPages } = response.headers;
  return { status: response.statusCode, type, cache, forPages, length };
}
