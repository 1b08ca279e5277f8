import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tierPolicyOf } from '../../protocol/capability/index.ts';
import { VERSION } from '../../protocol/handshake/index.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { type LoadedAccord, loadAccord } from '../../src/base/accord-file.ts';
import { systemClock as clock } from '../../src/base/clock.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { createMemoryDataPlane } from '../../src/dataplane/memory/index.ts';
import { SessionDirectory } from '../../src/enforcer/directory.ts';
import { LocalEnforcer } from '../../src/enforcer/enforcer.ts';
import { Nonces } from '../../src/enforcer/nonces.ts';
import { StreamsOnlyEnforcer } from '../../src/enforcer/streams-only.ts';
import { SpiffeAttestor } from '../../src/identity/attestor.ts';
import {
  openIdentitySource,
  SpireSatVerifier,
  SvidVerifier,
  type WorkloadApiSource,
} from '../../src/identity/index.ts';
import { memoryLinkPair } from '../../src/link/index.ts';
import { attestAsInitiator, attestAsResponder } from '../../src/session/attest.ts';
import { LinkExchange } from '../../src/session/link-exchange.ts';
import { Spire } from './spire.ts';

/** SPIRE sets no tier without a composer: the accord assigns it. */
const ACCORD = `apiVersion: shellstream.accord/v1
id: home
extends: default
serial: 1
signer: none
minimumVersion: 1
tiers:
  assigned: [{ identity: 'spiffe://away.test/**', tier: journeyman }]
  ceilings: [{ identity: 'spiffe://away.test/**', tier: journeyman }]
`;

const crypto = loadCryptoProvider();
let home: Spire;
let away: Spire;
let gateway: WorkloadApiSource;
let peer: WorkloadApiSource;
let accord: LoadedAccord;

beforeAll(async () => {
  home = await Spire.start('home.test');
  away = await Spire.start('away.test');
  await home.federateWith(away);
  await away.federateWith(home);
  await home.createEntry({ path: '/gateway', federatesWith: ['away.test'] });
  await away.createEntry({ path: '/peer', federatesWith: ['home.test'] });
  gateway = open(home, '/gateway');
  peer = open(away, '/peer');
  await Promise.all([gateway.ready(AbortSignal.timeout(60_000)), peer.ready(AbortSignal.timeout(60_000))]);
  const folder = await mkdtemp(join(tmpdir(), 'shs-spire-'));
  await writeFile(join(folder, 'accord.yaml'), ACCORD);
  accord = await loadAccord(join(folder, 'accord.yaml'), (bytes) => crypto.sha256(bytes));
  await rm(folder, { recursive: true });
});

afterAll(async () => {
  for (const opened of [gateway, peer, home, away]) await opened?.[Symbol.asyncDispose]();
});

describe('a handshake between identities of a real SPIRE', () => {
  test.each([5, 3] as const)('ends in a grant at level %s', async (level) => {
    const { admission } = await handshake(level);
    expect(admission.peer.spiffeId).toBe(peer.current().spiffeId);
    expect(admission.effectiveLevel).toBe(level);
  });
});

async function handshake(level: PostureLevel) {
  const posture = { level, epoch: 1n };
  const links = memoryLinkPair();
  const responder = new LocalEnforcer({
    crypto,
    clock,
    posture,
    attestor: attestorOf(gateway),
    nonces: new Nonces(clock, { lifetimeMs: 30_000, limit: 16 }),
    accord: accord.accord,
    accordHash: accord.hash,
    tiers: tierPolicyOf(accord.accord, 'home.test'),
    dataplane: createMemoryDataPlane(),
    directory: new SessionDirectory({ sessions: 10, sessionsPerIdentity: 10 }),
    keepaliveOf: () => 0,
    intends: () => true,
  });
  const initiator = new StreamsOnlyEnforcer({ crypto, clock, posture, attestor: attestorOf(peer) });
  using here = new LinkExchange(links.responder, clock, 30_000);
  using there = new LinkExchange(links.initiator, clock, 30_000);
  const keys = () => ({ crypto, staticKey: crypto.x25519Generate() });
  const [attested] = await Promise.all([
    attestAsResponder(here, { enforcer: responder, handshake: keys(), connection: links.responder }),
    attestAsInitiator(
      there,
      { enforcer: initiator, handshake: keys(), connection: links.initiator },
      {
        offer: { versions: [VERSION], sessionType: 'operator', mode: 'overlay' },
        expectedId: gateway.current().spiffeId,
        request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
      },
    ),
  ]);
  return attested;
}

function attestorOf(source: WorkloadApiSource): SpiffeAttestor {
  const svids = new SvidVerifier({ bundles: () => source.bundles, clock });
  return new SpiffeAttestor({ source, svids, sats: new SpireSatVerifier({ source }), clock });
}

function open(spire: Spire, path: string): WorkloadApiSource {
  const spiffeId = parseSpiffeId(`spiffe://${spire.trustDomain}${path}`);
  if (spiffeId === undefined) throw new Error(`not a path: ${path}`);
  return openIdentitySource({ socketPath: spire.socketPath, clock, random: Math.random, spiffeId });
}
