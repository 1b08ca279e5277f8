import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type MemoryDomains, memoryDomains } from '../../test/support/memory-nodes.ts';
import type { EvidenceStore } from '../evidence/evidence-store.ts';
import { consoleUse, mutation, ORIGIN } from '../evidence/fixtures.ts';
import { recordSnapshot } from '../evidence/forensic-snapshot.ts';
import { signReceipt } from '../evidence/receipts.ts';
import type { Recording } from '../evidence/recorder.ts';
import { StoreWorld } from '../evidence/store-world.ts';
import { FakeWorld } from './fixtures.ts';

let world: StoreWorld;
let store: EvidenceStore;
let domains: MemoryDomains;

beforeEach(async () => {
  world = new StoreWorld();
  store = await world.open();
  domains = await memoryDomains(world.clock);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await domains[Symbol.asyncDispose]();
  world[Symbol.dispose]();
});

test('records that are the log’s pass: a snapshot with its parts, a receipt with its bundle, and what else there is', async () => {
  await store.record(consoleUse);
  await recordSnapshot(store, new Uint8Array(16), SNAPSHOT, { changeEpoch: 7n, late: false });
  await store.record(await receipt('a'));
  expect(await verified(await shown(), 'a')).toMatchObject({ code: 0, findings: [] });
});

test('attack: a record is shown that is not the one of its entry', async () => {
  const { at } = await store.record(mutation(1));
  await store.record(mutation(2));
  const [one, other] = (await shown()).slice(-2);
  const swapped = [{ ...one, record: other?.record }];
  expect(await verified(swapped)).toMatchObject({
    code: 1,
    findings: [`record of entry ${at}: it is not what the entry commits to`],
  });
});

test('attack: a snapshot that vouches for other parts than stand before it, and one whose part is kept back', async () => {
  await recordSnapshot(store, new Uint8Array(16), SNAPSHOT, { changeEpoch: 7n, late: false });
  const all = await shown();
  const without = all.filter((_, at) => at !== all.length - 2);
  expect((await verified(without)).findings.join()).toContain('part 0 of the snapshot is not shown');
  const value = { snapshotId: new Uint8Array(16), parts: [new Uint8Array(32)], peers: 1 };
  await store.record({ case: 'forensicSnapshot', value });
  expect((await verified(await shown())).findings.join()).toContain('part 0 of the snapshot is another one');
});

test('a receipt without its bundle passes, and is told as not proven', async () => {
  await store.record(await receipt('a'));
  expect(await verified(await shown(), 'a')).toMatchObject({ code: 0, unproven: [] });
  expect(await verified(await shown())).toMatchObject({ code: 0, unproven: ['spiffe://a.test/gateway'] });
});

test('attack: a forged receipt stands in the log', async () => {
  await using forgers = await memoryDomains(world.clock);
  await store.record(await receipt('a', forgers));
  expect(await verified(await shown(), 'a')).toMatchObject({
    code: 1,
    findings: [expect.stringMatching(/a forged receipt of spiffe:\/\/a\.test\/gateway: SVID_UNTRUSTED/)],
  });
});

test('what is no record is named by its line', async () => {
  await world.checkpoint(store, 1);
  expect(await verified([{ origin: ORIGIN }])).toMatchObject({
    code: 1,
    err: expect.stringContaining('line 1 is no record'),
  });
});

const SNAPSHOT = {
  atBootNs: 1n,
  peers: [{ peerId: 'spiffe://b.test/gateway', level: 1 }],
  tunnels: [],
  routes: [],
  sessions: [],
};

async function receipt(name: 'a', of: MemoryDomains = domains): Promise<Recording> {
  const { source } = await of.identity(name);
  const current = source.current();
  const said = {
    nodeId: current.spiffeId,
    fromLevel: 5,
    level: 1,
    epoch: 2n,
    atMs: BigInt(world.clock.now()),
    accordHash: new Uint8Array(32),
  };
  return { case: 'enforcementReceipt', value: signReceipt(current, said) };
}

/** As `evidence query --json` prints them. */
async function shown() {
  await world.checkpoint(store, 1);
  return (store.reader?.entries(0, 10_000) ?? []).flatMap(({ index, opening }) => {
    if (opening === undefined) return [];
    const record = Buffer.from(opening.record).toString('base64');
    return [
      { origin: ORIGIN, leftOut: false, sequence: index, record, salt: Buffer.from(opening.salt).toString('hex') },
    ];
  });
}

async function verified(records: readonly object[], bundleOf?: 'a') {
  const file = join(world.folder.path, 'records');
  writeFileSync(file, records.map((one) => `${JSON.stringify(one)}\n`).join(''));
  const args = ['--key', store.state.verifierKeys[0] ?? '', '--records', file, '--json'];
  if (bundleOf !== undefined) {
    const pem = join(world.folder.path, 'bundle.pem');
    const { source } = await domains.identity(bundleOf);
    const authorities = source.bundles.x509.get(`${bundleOf}.test`)?.authorities ?? [];
    const blocks = authorities.map(({ der }) => Buffer.from(der).toString('base64'));
    writeFileSync(
      pem,
      blocks.map((der) => `-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`).join(''),
    );
    args.push('--bundle', `${bundleOf}.test=${pem}`);
  }
  const { code, out, err } = await new FakeWorld().run('verify-log', world.logPath, ...args);
  const told: { findings: readonly string[]; unproven: readonly string[] } =
    out === '' ? { findings: [], unproven: [] } : JSON.parse(out);
  return { code, err, findings: told.findings, unproven: told.unproven };
}
