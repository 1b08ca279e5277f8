import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type ArtifactKind, parseArtifact, sessionIdBytes } from '../../protocol/evidence/index.ts';
import { type Artifact, CountedBy, Observer, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { MemorySites, type MemorySitesOptions } from '../../test/support/memory-sites.ts';
import { MemoryStanding, RestartingSite } from '../../test/support/restarting-enforcer.ts';
import type { EvidencePlace } from '../evidence/evidence-place.ts';
import { EvidenceFolder } from '../evidence/fixtures.ts';
import { verifyReceipt } from '../evidence/receipts.ts';
import type { EnforcerNode } from './enforcer.ts';
import { recordConsole } from './evidence-console.ts';
import { evidenceDesk } from './evidence-desk.ts';
import { SNAPSHOT_STEP } from './forensic-capture.ts';
import { gatewayView } from './gateway-view.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-node-evidence-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('a session is announced before it stands, and its end is told with reason, identities and counters', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { b } = sites;
  const [id] = b.gateway.directory.all.map(({ admission }) => admission.id);
  await b.gateway.directory.revoke(id ?? '', 'CLOSED');
  const ended = await recorded(sites, 'sessionTransit', (all) => all.length >= 2);
  expect(ended[0]).toMatchObject({
    phase: Phase.INTENT,
    initiatorId: 'spiffe://a.test/gateway',
    responderId: 'spiffe://b.test/gateway',
    postureLevelAtTransit: 5,
  });
  expect(ended[1]).toMatchObject({
    phase: Phase.OUTCOME,
    sessionId: ended[0]?.sessionId,
    intent: ended[0]?.transit,
    endReason: REASONS.CLOSED.code,
    endedByPeer: false,
    counters: [{ packets: 0n, countedBy: CountedBy.KERNEL }],
  });
});

test('a session that outlived its enforcer ends by the names and the number of its intent', async () => {
  await using sites = await MemorySites.create({ evidenceOf: place(), tunnelsSurvive: true });
  const a = new RestartingSite(sites.a, new MemoryStanding());
  await sites.b.start();
  await a.start();
  await a.serve();
  await sites.until('a session', () => a.terminator.registry.size === 1 && a.node.directory.size === 1);
  const [id = ''] = a.node.directory.all.map(({ admission }) => admission.id);
  // The file is locked for as long as this process has it open.
  a.node.evidence?.store.spool?.[Symbol.dispose]();
  a.kill();
  await a.start();
  await sites.until('claimed', () => a.log.includes('an enforcer is back') && a.node.directory.get(id) !== undefined);
  await a.node.directory.revoke(id, 'CLOSED');
  const [intent, outcome] = await recorded(sites, 'sessionTransit', (all) => all.length >= 2, { gateway: a.node });
  expect(outcome).toMatchObject({
    phase: Phase.OUTCOME,
    endReason: REASONS.CLOSED.code,
    intent: intent?.transit,
    initiatorId: intent?.initiatorId,
    responderId: intent?.responderId,
  });
  let isStopped = false;
  const stopped = a.stop().finally(() => (isStopped = true));
  await sites.until('site-a stopped', () => isStopped);
  await stopped;
});

test('when the node stops, the end of what a terminator that hangs holds is recorded before the log closes', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { b } = sites;
  const store = b.gateway.evidence?.store;
  if (store === undefined) throw new Error('no evidence');
  // It does not answer in its time.
  vi.spyOn(b.gateway.terminators, 'drainAll').mockResolvedValue();
  const record = vi.spyOn(store, 'record');
  let isStopped = false;
  const stopped = b.stop().finally(() => (isStopped = true));
  await sites.until('site-b stopped', () => isStopped);
  await stopped;
  expect(record.mock.calls.map(([body]) => body)).toMatchObject([
    { value: { phase: Phase.OUTCOME, endReason: REASONS.SHUTTING_DOWN.code } },
  ]);
  expect(await record.mock.results[0]?.value).toMatchObject({ transit: expect.any(Number) });
});

test('what is offered in the other direction is in the record at both ends', async () => {
  const peer = { offer: [{ prefix: '10.1.0.20/32', port: 631 }], advertise: ['10.1.0.0/24'] };
  await using sites = await MemorySites.connected({ evidenceOf: place(), peer });
  const printer = { prefix: { address: Uint8Array.of(10, 1, 0, 20), length: 32 }, protocol: 6, port: 631 };
  for (const site of [sites.a, sites.b]) {
    const [transit] = await recorded(sites, 'sessionTransit', (all) => all.length >= 1, site);
    expect(transit).toMatchObject({ offered: [printer], targets: [{ port: 8080 }, { port: 9443 }] });
    const view = gatewayView(site.gateway, { version: '0', tunnelWhy: 'memory' });
    const { counts } = await view.status();
    expect(counts.flows).toBe(3);
    const [{ id } = { id: '' }] = await view.sessions({});
    expect(await view.session(id)).toMatchObject({ offered: [{ ...printer, class: 'ordinary', floor: 3 }] });
  }
});

test('what cannot be recorded does not come to stand, and the console still works', async () => {
  // A new spool, and so little more that sessions have none of it.
  using fresh = new EvidenceFolder();
  using spool = fresh.spool();
  const budget = spool.room.usedBytes + 3_000;
  await using sites = await MemorySites.create({
    evidenceOf: (name) => place(name === 'b' ? budget : undefined)(name),
  });
  await sites.b.start();
  await sites.a.start();
  await sites.until('a refusal', () => sites.a.log.some(({ fields }) => JSON.stringify(fields).includes('OVERLOADED')));
  expect(sites.b.gateway.directory.size).toBe(0);
  expect(sites.b.gateway.evidence?.store.state.room.isFull).toBe(true);
  const stated = sites.b.gateway.posture.state('console', 3, 'incident');
  await sites.until('the change', () => sites.b.gateway.posture.level === 3);
  await stated;
});

test('at level 1: a snapshot of what stood, the change as daemon and data plane had it, and a receipt that verifies', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { b } = sites;
  const stated = b.gateway.posture.state('console', 1, 'intrusion');
  await sites.until('level 1', () => b.gateway.posture.level === 1);
  let isSettled = false;
  void stated.then(() => (isSettled = true));
  await sites.until('its end', () => isSettled);
  const [snapshot] = await recorded(sites, 'forensicSnapshot', (all) => all.length === 1);
  expect(snapshot).toMatchObject({ sessions: 1, tunnels: 1, routes: 1 });
  const changes = await recorded(sites, 'postureChange', (all) => all.some(({ toLevel }) => toLevel === 1));
  expect(changes.filter(({ toLevel }) => toLevel === 1)).toMatchObject([
    { fromLevel: 5, observer: Observer.DAEMON, source: 'console', failedSteps: [] },
    { fromLevel: 5, observer: Observer.DATA_PLANE },
  ]);
  const receipts = await recorded(sites, 'enforcementReceipt', (all) => all.length === 2);
  const [, receipt] = receipts.map((one) => verifyReceipt(one, sites.a.source.bundles));
  expect(receipt).toMatchObject({ nodeId: 'spiffe://b.test/gateway', fromLevel: 5, level: 1, notRealised: [] });
  const forged = { ...receipts[1], statement: receipts[0]?.statement ?? new Uint8Array() };
  expect(() => verifyReceipt({ ...receipts[0], ...forged } as never, sites.a.source.bundles)).toThrow('SVID_SIGNATURE');
});

test('the snapshot lists who ended and may not be gone, as no handshake that had not ended', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { b } = sites;
  const [id = ''] = b.gateway.directory.all.map(({ admission }) => admission.id);
  if (b.gateway.overlay === undefined) throw new Error('no overlay');
  const { promise: isAnswered, resolve: answer } = Promise.withResolvers<void>();
  vi.spyOn(b.gateway.overlay, 'leave').mockReturnValueOnce(isAnswered);
  const ended = b.gateway.directory.revoke(id, 'CLOSED');
  const stated = b.gateway.posture.state('console', 1, 'intrusion');
  const [snapshot] = await recorded(sites, 'forensicSnapshot', (all) => all.length === 1);
  expect(snapshot).toMatchObject({ sessions: 1 });
  const listed = (await recorded(sites, 'snapshotPart', (all) => all.length > 0)).flatMap(({ sessions }) => sessions);
  expect(listed).toMatchObject([{ sessionId: sessionIdBytes(id), pending: false }]);
  answer();
  await ended;
  let isSettled = false;
  void stated.then(() => (isSettled = true));
  await sites.until('its end', () => isSettled);
});

test('a kernel that does not answer in time: the snapshot tells its tunnels and routes from memory', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { gateway, dataplane } = sites.b;
  const { network } = dataplane;
  const routes = network.routes.bind(network);
  // The snapshot is what asks first.
  network.routes = () => {
    network.routes = routes;
    return new Promise(() => undefined);
  };
  const stated = gateway.posture.state('console', 1, 'intrusion');
  const [snapshot] = await recorded(sites, 'forensicSnapshot', (all) => all.length === 1);
  expect(snapshot).toMatchObject({ sessions: 1, tunnels: 1, routes: 1 });
  await sites.until('no session', () => gateway.directory.size === 0);
  await stated;
});

test('the snapshot is durable before the first session goes', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { gateway } = sites.b;
  const kinds: string[] = [];
  using _ = gateway.directory.onEvent(({ kind }) => {
    const { reader, size = 0 } = gateway.evidence?.store.spool ?? {};
    if (kind !== 'ended') return;
    const entries = reader?.entries(0, size) ?? [];
    kinds.push(...entries.flatMap(({ opening }) => parsedKind(opening?.record) ?? []));
  });
  const stated = gateway.posture.state('console', 1, 'intrusion');
  await sites.until('no session', () => gateway.directory.size === 0);
  expect(kinds).toContain('forensicSnapshot');
  expect(kinds.filter((kind) => kind === 'enforcementReceipt')).toHaveLength(1);
  let isSettled = false;
  void stated.then(() => (isSettled = true));
  await sites.until('its end', () => isSettled);
});

test('a snapshot that cannot be recorded is tried again until it is, and the level waits for none of that', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { gateway } = sites.b;
  // As a disk that reports an error; it is opened again after a while.
  gateway.evidence?.store.spool?.[Symbol.dispose]();
  const stated = gateway.posture.state('console', 1, 'intrusion');
  await sites.until('level 1', () => gateway.posture.level === 1);
  await sites.until('no session', () => gateway.directory.size === 0);
  await sites.until('the step is open', () => gateway.posture.unrealised.length > 0);
  expect(gateway.posture.unrealised).toEqual([SNAPSHOT_STEP]);
  const [snapshot] = await recorded(sites, 'forensicSnapshot', (all) => all.length === 1);
  expect(snapshot).toMatchObject({ sessions: 1, late: false });
  await sites.until('the step is taken', () => gateway.posture.unrealised.length === 0, 1_000);
  await stated;
});

test('a step that failed is in the receipt', async () => {
  await using sites = await MemorySites.create({ evidenceOf: place() });
  await sites.b.start();
  sites.b.dataplane.governance.write = () => {
    throw new Error('the page is gone');
  };
  await sites.b.gateway.posture.state('console', 3, 'incident');
  const receipts = await recorded(sites, 'enforcementReceipt', (all) => all.length === 2);
  const [, receipt] = receipts.map((one) => verifyReceipt(one, sites.b.source.bundles));
  expect(receipt).toMatchObject({ level: 3, notRealised: ['governance page'] });
});

test('a disk that fails refuses sessions until it is whole; then it goes on by itself, and says what is not known', async () => {
  await using sites = await MemorySites.connected({ evidenceOf: place() });
  const { b } = sites;
  const store = b.gateway.evidence?.store;
  const spool = store?.spool;
  // As a disk that reports an error: whatever is asked of it fails.
  spool?.[Symbol.dispose]();
  const [id] = b.gateway.directory.all.map(({ admission }) => admission.id);
  await b.gateway.directory.revoke(id ?? '', 'CLOSED');
  await sites.until('the problem', () => store?.state.problem !== undefined);
  await sites.until('a new session', () => b.gateway.directory.size === 1, 1_000);
  expect(store?.state.problem).toBeUndefined();
  const transits = await recorded(sites, 'sessionTransit', (all) => all.length >= 3);
  expect(transits.map(({ phase }) => phase)).toContain(Phase.COMPENSATION);
});

test('records are shown by tier, each with its proof; who may only look is refused the console’s', async () => {
  await using sites = await MemorySites.create({ evidenceOf: place() });
  await sites.b.start();
  const { evidence, world } = sites.b.gateway;
  if (evidence === undefined) throw new Error('no evidence');
  const witness = recordConsole(evidence, world.crypto, world.log);
  const used = witness({
    by: { uid: 0, gid: 0, pid: 7 },
    verb: 'setPosture',
    request: Uint8Array.of(1),
    refused: 'CAPABILITY_NOT_GRANTED',
    isLook: false,
  });
  const [use] = await recorded(sites, 'consoleUse', (all) => all.length === 1);
  await used;
  expect(use).toMatchObject({ uid: 0, verb: 'setPosture', reason: REASONS.CAPABILITY_NOT_GRANTED.code });

  const desk = evidenceDesk(world, evidence);
  const { records } = await desk.list({ kind: 'consoleUse' }, 'site_owner');
  const index = records[0]?.index ?? -1;
  await expect(desk.list({ kind: 'consoleUse' }, 'apprentice')).rejects.toThrow('CAPABILITY_NOT_GRANTED');
  await expect(desk.list({}, undefined)).rejects.toThrow('CAPABILITY_NOT_GRANTED');
  expect((await desk.list({}, 'apprentice')).records.map(({ kind }) => kind)).not.toContain('consoleUse');
  await sites.until('the published log', () => evidence.store.published > index, 500);
  await expect(desk.show(index, 'apprentice')).rejects.toThrow('CAPABILITY_NOT_GRANTED');
  expect(await desk.show(index, 'site_owner')).toMatchObject({
    index,
    kind: 'consoleUse',
    size: evidence.store.published,
  });
});

function parsedKind(record: Uint8Array | undefined): string | undefined {
  return record === undefined ? undefined : parseArtifact(record).body.case;
}

function place(budgetBytes = 64 << 20): NonNullable<MemorySitesOptions['evidenceOf']> {
  return (name): EvidencePlace => {
    const directory = join(folder, name);
    return {
      directory,
      origin: `${name}.test/log`,
      keys: [join(directory, 'log.key')],
      budgetBytes,
      retentionDays: 90,
    };
  };
}

type Of<K extends ArtifactKind> = Extract<Artifact['body'], { case: K }>['value'];

/** Artifacts of one kind at site-b, in their order, once there are enough. */
async function recorded<K extends ArtifactKind>(
  sites: MemorySites,
  kind: K,
  isEnough: (all: readonly Of<K>[]) => boolean,
  { gateway }: { readonly gateway: Pick<EnforcerNode, 'evidence'> } = sites.b,
): Promise<readonly Of<K>[]> {
  let found: Of<K>[] = [];
  await sites.until(`${kind} recorded`, () => {
    const spool = gateway.evidence?.store.spool;
    if (spool === undefined) return false;
    const rows = [...spool.reader.leftOut(0, 10_000), ...spool.reader.entries(0, 10_000)];
    found = rows.flatMap(({ opening }) => {
      if (opening === undefined) return [];
      const { body } = parseArtifact(opening.record);
      return body.case === kind ? [body.value as Of<K>] : [];
    });
    return isEnough(found);
  });
  return found;
}
