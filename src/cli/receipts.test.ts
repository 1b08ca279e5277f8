import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { type MemoryDomains, memoryDomains } from '../../test/support/memory-nodes.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { type SignedReceipt, signReceipt } from '../evidence/receipts.ts';
import { consoleCaller, ownCaller } from '../quartermaster/access.ts';
import { Depot, entry, submitRequest } from '../quartermaster/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

type Node = Awaited<ReturnType<MemoryDomains['identity']>>;

const clock = new SimulatedClock();
const forgers = new AsyncDisposableStack();
let domains: MemoryDomains;
let a: Node;
let b: Node;
/** Whose certificate says what a's says, by an authority of his own. */
let impostor: Node;
let folder: string;
let depot: Depot;
let world: FakeWorld;
let submitted: Map<string, number>;
let service: ReturnType<Depot['service']>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-receipts-'));
  domains = await memoryDomains(clock);
  [a, b] = [await domains.identity('a'), await domains.identity('b')];
  impostor = await forgers.use(await memoryDomains(clock)).identity('a');
  for (const [name, node] of [
    ['a', a],
    ['b', b],
  ] as const) {
    const der = node.source.bundles.x509.get(`${name}.test`)?.authorities.map((authority) => authority.der) ?? [];
    writeFileSync(pem(name), der.map(pemOf).join(''));
  }
});
afterAll(async () => {
  await domains[Symbol.asyncDispose]();
  await forgers.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  depot = new Depot();
  world = new FakeWorld();
  submitted = new Map();
  service = depot.service(depot.store());
  const client = service.by(consoleCaller(0, 'site_owner'));
  world.quartermaster = async () => ({ client, [Symbol.asyncDispose]: async () => undefined });
});
afterEach(() => depot[Symbol.asyncDispose]());

test('the newest receipt of every node, from several logs, each proven by its bundle', async () => {
  await submit('a.test/log', receipt(a, 5, 1), receipt(a, 1, 2));
  await submit('b.test/log', receipt(b, 1, 9, ['teardown']));
  const { code, out } = await ask();
  expect([code, lines(out)]).toMatchObject([
    0,
    [
      { log: 'a.test/log 1', nodeId: id('a'), level: 1, epoch: 2, notRealised: [], proof: 'proven' },
      { log: 'b.test/log 0', nodeId: id('b'), level: 1, epoch: 9, notRealised: ['teardown'], proof: 'proven' },
    ],
  ]);
  expect((await world.run('posture', 'receipts', '--nodes')).out).toMatch(
    /a\.test\/gateway +1 +2 +all of it +none: only the certificate/,
  );
});

test('what is missing: a node without a receipt, at another level, or that realised it in part', async () => {
  await submit('a.test/log', receipt(a, 3, 4));
  await submit('b.test/log', receipt(b, 1, 9, ['teardown']));
  const expected = ['a', 'b'].flatMap((name) => ['--expect', id(name)]);
  const { code, out } = await ask('--level', '1', '--expect', 'spiffe://b.test/other', ...expected);
  expect([code, lines(out).flatMap(({ missing }) => missing ?? [])]).toEqual([
    1,
    [
      { kind: 'no receipt', node: 'spiffe://b.test/other' },
      { kind: 'another level', node: id('a'), level: 3 },
      { kind: 'in part', node: id('b'), notRealised: ['teardown'] },
    ],
  ]);
});

test.each<[string, () => SignedReceipt, RegExp]>([
  ['under a certificate that was made for it', () => receipt(impostor, 1, 99), /SVID_UNTRUSTED/],
  ['that another node signed', () => receipt(b, 1, 99, [], id('a')), /WRONG_IDENTITY/],
  [
    'whose statement was changed',
    () => ({ ...receipt(a, 1, 99), signature: receipt(a, 5, 99).signature ?? new Uint8Array() }),
    /SVID_SIGNATURE/,
  ],
])('attack: a receipt %s: it is told, and does not stand for the node', async (_, forge, why) => {
  await submit('a.test/log', receipt(a, 5, 1), forge());
  const { code, out } = await ask('--expect', id('a'), '--level', '1');
  expect([code, lines(out)]).toMatchObject([
    1,
    [
      { nodeId: id('a'), level: 5, proof: 'proven' },
      { missing: { kind: 'another level', node: id('a'), level: 5 } },
      { missing: { kind: 'forged', node: id('a'), why: expect.stringMatching(why) } },
    ],
  ]);
});

test('attack: a receipt whose certificate was made along hides a true one where no bundle was given, and that is said', async () => {
  await submit('a.test/log', receipt(a, 5, 1), receipt(impostor, 1, 99));
  const { out } = await world.run('posture', 'receipts', '--nodes');
  expect(out).toMatch(/a\.test\/gateway +1 +99 .* none: only the certificate that came along/);
  expect(out).toContain('What no bundle vouches for proves nothing: a forger makes the certificate along');
  expect(out).toContain('--bundle a.test=FILE');
  const proven = await world.run('posture', 'receipts', '--nodes', '--bundle', `a.test=${pem('a')}`);
  const told = proven.out.slice(out.length);
  expect(told).toMatch(/a\.test\/gateway +5 +1 .* bundle/);
  expect(told).toMatch(/^FORGED +spiffe:\/\/a\.test\/gateway: SVID_UNTRUSTED/m);
  expect(told).not.toContain('proves nothing');
});

test('nothing is expected of a node whose trust domain no bundle vouches for', async () => {
  const { code, err } = await world.run('posture', 'receipts', '--nodes', '--expect', id('c'));
  expect([code, err]).toMatchObject([1, expect.stringContaining('needs --bundle c.test=FILE')]);
});

const id = (name: string): string => `spiffe://${name}.test/gateway`;
const pem = (name: string): string => join(folder, `${name}.pem`);
const ask = (...args: string[]) =>
  world.run(
    'posture',
    'receipts',
    '--nodes',
    '--json',
    '--bundle',
    `a.test=${pem('a')}`,
    '--bundle',
    `b.test=${pem('b')}`,
    ...args,
  );
const lines = (out: string) =>
  out
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** @param as whose it pretends to be */
function receipt(
  node: Node,
  level: PostureLevel,
  epoch: number,
  notRealised: string[] = [],
  as?: string,
): SignedReceipt {
  const current = node.source.current();
  return signReceipt(current, {
    nodeId: as ?? current.spiffeId,
    fromLevel: 5,
    level,
    epoch: BigInt(epoch),
    atMs: BigInt(clock.now() + epoch),
    accordHash: new Uint8Array(32),
    notRealised,
  });
}

async function submit(origin: string, ...receipts: readonly SignedReceipt[]): Promise<void> {
  const first = submitted.get(origin) ?? 0;
  const entries = receipts.map((value) => entry(1, clock.now(), { case: 'enforcementReceipt', value }));
  await service.by(ownCaller(origin)).submit(submitRequest(first, entries, { origin }));
  submitted.set(origin, first + receipts.length);
}

function pemOf(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;
}
