import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { sleep, systemClock } from '../../src/base/clock.ts';
import {
  openIdentitySource,
  SpireSatVerifier,
  SvidVerifier,
  verifyEvidenceSignature,
  type WorkloadApiSource,
} from '../../src/identity/index.ts';
import { Spire } from './spire.ts';

/** Two federated domains; the peer's workload shows its identity to our gateway. */
let home: Spire;
let away: Spire;
let gateway: WorkloadApiSource;
let peer: WorkloadApiSource;
let audiences: { plain: string; bound: string };

beforeAll(async () => {
  home = await Spire.start('home.test');
  away = await Spire.start('away.test');
  await home.federateWith(away);
  await away.federateWith(home);
  await home.createEntry({ path: '/gateway', federatesWith: ['away.test'] });
  await away.createEntry({ path: '/peer', federatesWith: ['home.test'] });
  gateway = open(home, '/gateway');
  peer = open(away, '/peer');
  await Promise.all([gateway.ready(patience()), peer.ready(patience())]);
  const { spiffeId } = gateway.current();
  audiences = { plain: spiffeId, bound: `${spiffeId}#Zm9yIHRoaXMgaGFuZHNoYWtl` };
});

afterAll(async () => {
  for (const opened of [gateway, peer, home, away]) await opened?.[Symbol.asyncDispose]();
});

describe('a real SPIRE', () => {
  test('issues SVIDs that a federated verifier accepts, with evidence by their key', () => {
    const { chain, sign, spiffeId } = peer.current();
    const svid = new SvidVerifier({ bundles: () => gateway.bundles, clock: systemClock }).verify(chain);
    expect(svid.spiffeId).toBe(spiffeId);
    const message = Buffer.from('transcript');
    verifyEvidenceSignature(svid, message, sign(message));
    expect(gateway.health()).toMatchObject({ state: 'streaming' });
  });

  test('mints a token per audience, which is verified without asking the agent', async () => {
    const token = await peer.fetchSat(audiences.plain, patience());
    expect(await peer.fetchSat(audiences.plain, patience())).toBe(token);
    expect(await verify(token, false)).toMatchObject({ subject: peer.current().spiffeId, bound: false });
  });

  test('mints the bound audience that level 3 asks for, and both sides keep it as it is', async () => {
    const token = await peer.fetchSat(audiences.bound, patience());
    expect(await verify(token, true)).toMatchObject({ subject: peer.current().spiffeId, bound: true });
  });

  test('cannot make a plain token, or one of another handshake, pass at level 3', async () => {
    const plain = await peer.fetchSat(audiences.plain, patience());
    await expect(verify(plain, true)).rejects.toThrow('SAT_NOT_FRESH');
    const other = await peer.fetchSat(`${audiences.plain}#YW5vdGhlcg`, patience());
    await expect(verify(other, true)).rejects.toThrow('SAT_WRONG_AUDIENCE');
    await expect(gateway.validateSat(other, audiences.bound, patience())).rejects.toThrow('SAT_INVALID');
  });

  test('while its server is away serves what it has and mints nothing new', async () => {
    const kept = await peer.fetchSat(audiences.plain, patience());
    await away.stopServer();
    expect(await peer.fetchSat(audiences.plain, patience())).toBe(kept);
    await expect(peer.fetchSat(`${audiences.plain}#bmV3`, patience())).rejects.toThrow('SAT_UNVERIFIABLE');
    await away.startServer();
    await becomes(() =>
      peer.fetchSat(`${audiences.plain}#bmV3`, patience()).then(
        () => true,
        () => false,
      ),
    );
  });

  test('rotates an SVID with a new key', async () => {
    await away.createEntry({ path: '/short', federatesWith: ['home.test'], x509TtlSeconds: 20 });
    await using short = open(away, '/short');
    await short.ready(patience());
    const before = short.current();
    await becomes(() => short.current() !== before);
    expect(short.current().chain).not.toEqual(before.chain);
  });

  test('ends the streams of a deleted entry with a denial, though its token still validates', async () => {
    await using alone = await Spire.start('alone.test');
    const entry = await alone.createEntry({ path: '/only' });
    await using source = open(alone, '/only');
    await source.ready(patience());
    const token = await source.fetchSat('x', patience());
    await alone.deleteEntry(entry);
    await becomes(() => source.health().state === 'denied');
    expect(source.current().spiffeId).toBe('spiffe://alone.test/only');
    expect(await source.validateSat(token, 'x', patience())).toBe('spiffe://alone.test/only');
  });

  test.each(['killed', 'stopped'] as const)('%s and started again finds our client waiting', async (how) => {
    const before = gateway.current();
    await (how === 'killed' ? home.killAgent() : home.stopAgent());
    await becomes(() => gateway.health().state === 'unavailable');
    expect(gateway.current()).toBe(before);
    await expect(gateway.fetchSat('x', patience())).rejects.toThrow('SAT_UNVERIFIABLE');
    await home.startAgent();
    await becomes(() => gateway.health().state === 'streaming');
    expect(await gateway.fetchSat('x', patience())).toContain('.');
  });
});

function open(spire: Spire, path: string): WorkloadApiSource {
  const spiffeId = requireId(`spiffe://${spire.trustDomain}${path}`);
  return openIdentitySource({ socketPath: spire.socketPath, clock: systemClock, random: Math.random, spiffeId });
}

async function verify(token: string, fresh: boolean): Promise<unknown> {
  const verifier = new SpireSatVerifier({ source: gateway });
  const { spiffeId } = peer.current();
  return await verifier.verify({ token, subject: spiffeId, audiences, fresh, now: systemClock.now() });
}

function patience(): AbortSignal {
  return AbortSignal.timeout(PATIENCE_MS);
}

/** Waits for what another process does in its own time. */
async function becomes(condition: () => boolean | Promise<boolean>): Promise<void> {
  const signal = patience();
  while (!signal.aborted && !(await condition())) await sleep(systemClock, POLL_MS, signal);
  expect(await condition()).toBe(true);
}

function requireId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(text);
  return id;
}

const PATIENCE_MS = 60_000;
const POLL_MS = 50;
