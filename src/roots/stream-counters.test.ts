/** What streams carried, from the terminator's count to the record of the session's end. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Channel, FRAME_TYPE } from '../../protocol/channel/index.ts';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import {
  CountedBy,
  Phase,
  type SessionTransitArtifact,
} from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { MemorySites, type Visitor } from '../../test/support/memory-sites.ts';

const UP = 70_001;
const DOWN = 200_003;

let folder: string;
let host: Server;
let sites: MemorySites;
let visitor: Visitor;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-counters-'));
  // It says much, and listens to all that is said.
  host = createServer((socket) => {
    socket.on('error', () => undefined).resume();
    socket.write(Buffer.alloc(DOWN));
  }).listen(0, '127.0.0.1');
  await once(host, 'listening');
  const directory = join(folder, 'b');
  const evidence = { directory, origin: 'b.test/log', keys: [join(directory, 'log.key')], budgetBytes: 64 << 20 };
  sites = await MemorySites.create({
    evidenceOf: (name) => ({ ...evidence, directory: join(folder, name), retentionDays: 90 }),
  });
  await sites.b.start();
  const address = host.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const target = { prefix: parsePrefix('127.0.0.1/32'), protocol: 6, port };
  // Its intent waits for others, by the clock.
  let came: Visitor | undefined;
  const coming = sites.visitor('management', [target]).then((one) => (came = one));
  await sites.until('the visitor', () => came !== undefined, 1);
  visitor = await coming;
  const stream = await visitor.session.streams.open(target);
  stream.resume();
  stream.write(Buffer.alloc(UP));
  await sites.until('all of it there', () => {
    const [session] = sites.b.gateway.registry.all;
    const { receivedBytes, sentBytes } = session?.streams.totals ?? {};
    return receivedBytes === BigInt(UP) && sentBytes === BigInt(DOWN);
  });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await sites[Symbol.asyncDispose]();
  host.close();
  rmSync(folder, { recursive: true, force: true });
});

const COUNTED = {
  countedBy: CountedBy.TERMINATOR,
  streams: 1,
  receivedBytes: BigInt(UP),
  sentBytes: BigInt(DOWN),
  packets: 0n,
};

test('a session that its visitor ends: so many bytes up, so many down, and whose word that is', async () => {
  visitor.session.end('CLOSED');
  expect(await countersAtEnd()).toMatchObject([{ ...COUNTED, incomplete: false }]);
});

test('a session that the enforcer ends waits for the terminator’s last word', async () => {
  await sites.b.gateway.directory.revoke(visitor.session.id, 'REVOKED');
  expect(await countersAtEnd()).toMatchObject([{ ...COUNTED, incomplete: false }]);
});

test('a session whose terminator dies: what it told last, and that there may have been more', async () => {
  await sites.clock.advance(5_000);
  await sites.b.gateway.enforcer.releaseAll('CONNECTION_LOST');
  expect(await countersAtEnd()).toMatchObject([{ ...COUNTED, incomplete: true }]);
});

test('a session that level 1 ends: the frames of its end, as the peer that got them has their bytes', async () => {
  const { receiveBytes } = Channel.prototype;
  const got: Uint8Array[] = [];
  vi.spyOn(Channel.prototype, 'receiveBytes').mockImplementation(function (this: Channel, now, bytes) {
    got.push(bytes.slice());
    return receiveBytes.call(this, now, bytes);
  });
  void sites.b.gateway.posture.state('console', 1, 'intrusion');
  await sites.until('the end', () => visitor.session.state === 'ended');
  expect(got.map(([type]) => type)).toEqual([FRAME_TYPE.DRAIN, FRAME_TYPE.CLOSE]);
  const payloadHash = createHash('sha256')
    .update(Buffer.concat(got.map((bytes) => bytes.subarray(1))))
    .digest();
  const frameHeaders = Uint8Array.from(got, ([type = 0]) => type);
  expect(await endOf()).toMatchObject({
    payloadHash: new Uint8Array(payloadHash),
    frameHeaders,
    counters: [{ ...COUNTED, incomplete: false }],
  });
});

test('at other levels no frames are recorded', async () => {
  visitor.session.end('CLOSED');
  expect(await endOf()).toMatchObject({ payloadHash: new Uint8Array(), frameHeaders: new Uint8Array() });
});

async function countersAtEnd() {
  return (await endOf()).counters;
}

async function endOf(): Promise<SessionTransitArtifact> {
  const found: SessionTransitArtifact[] = [];
  await sites.until('the end', () => {
    const { reader } = sites.b.gateway.evidence?.store.spool ?? {};
    const rows = [...(reader?.leftOut(0, 1_000) ?? []), ...(reader?.entries(0, 1_000) ?? [])];
    for (const { opening } of rows) {
      const body = opening === undefined ? undefined : parseArtifact(opening.record).body;
      if (body?.case === 'sessionTransit' && body.value.phase === Phase.OUTCOME) found.push(body.value);
    }
    return found.length > 0;
  });
  const [end] = found;
  if (end === undefined) throw new Error('no end');
  return end;
}
