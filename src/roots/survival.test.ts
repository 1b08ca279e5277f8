/** An enforcer dies under sessions that stand: what the next one lets go on, and what nobody may make it let. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { parseAddress } from '../../protocol/net/address.ts';
import { id, testIssuer } from '../../protocol/revocation/fixtures.ts';
import { parseStatement, type Revoked } from '../../protocol/revocation/index.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { MemoryStanding, RestartingSite } from '../../test/support/restarting-enforcer.ts';
import type { MemoryTunnel } from '../dataplane/memory/tunnel.ts';
import type { LocalEnforcer } from '../enforcer/enforcer.ts';
import { decodeKept, encodeKept } from '../enforcer/process/kept.ts';
import { forgetfulRevocations } from '../identity/revocation-store.ts';

const GRACE_MS = 10_000;
const SYN = 2;

let sites: MemorySites;
let a: RestartingSite;
let standing: MemoryStanding;

beforeEach(async () => {
  sites = await MemorySites.create({ tunnelsSurvive: true });
  standing = new MemoryStanding();
  a = new RestartingSite(sites.a, standing);
  await sites.b.start();
  await a.start();
  await a.serve();
  await sites.until('a session at both ends', () => a.node.directory.size === 1 && sites.b.gateway.registry.size === 1);
});
afterEach(async () => {
  const stopped = a.stop();
  let isStopped = false;
  stopped.finally(() => (isStopped = true)).catch(() => undefined);
  await sites.until('site-a stopped', () => isStopped);
  await sites[Symbol.asyncDispose]();
});

/** The one session of site-a's terminator. */
function session() {
  const [only, ...others] = a.terminator.registry.all;
  if (only === undefined || others.length > 0) throw new Error(`${a.terminator.registry.size} sessions`);
  return only;
}

/** A request from site-a's network to the target behind site-b, through both filters and the tunnel. */
function passes(): boolean {
  const tunnel = a.node.overlay?.device as MemoryTunnel;
  const packet = {
    kind: 'tcp' as const,
    source: parseAddress('10.99.0.1'),
    destination: parseAddress('10.2.0.10'),
    sourcePort: 40_000,
    destinationPort: 8080,
    flags: SYN,
  };
  const verdict = sites.a.dataplane.flows.judge({ ...packet, ifindex: tunnel.ifindex, direction: 'out' });
  return verdict === 'PASS' && tunnel.transmit(packet.source, packet.destination);
}

async function peers() {
  return (await a.node.overlay?.device.peers()) ?? [];
}

/** Until the terminator has its sessions from the enforcer that runs. */
async function untilClaimed(id: string): Promise<void> {
  await sites.until('claimed', () => a.log.includes('an enforcer is back') && a.node.directory.get(id) !== undefined);
}

async function untilGone(): Promise<void> {
  await sites.until('the former session ended', () => a.terminator.registry.all.every(({ id }) => id !== former));
}
let former = '';

describe('an enforcer that is killed and started again', () => {
  it('goes on with the tunnel: the same session, the same connection, the same WireGuard session', async () => {
    const { id } = session();
    const far = sites.b.session;
    expect(passes()).toBe(true);
    const [before] = await peers();
    a.kill();
    await sites.clock.advance(1_000);
    await a.start();
    await untilClaimed(id);
    expect(session().id).toBe(id);
    expect(sites.b.session).toBe(far);
    expect(passes()).toBe(true);
    const [after] = await peers();
    expect(after?.publicKey).toEqual(before?.publicKey);
    // Not shaken again: the last handshake is older by the time that passed.
    expect((after?.handshakeAgeMs ?? 0) - (before?.handshakeAgeMs ?? 0)).toBeGreaterThanOrEqual(1_000);
    await sites.clock.advance(2 * GRACE_MS);
    expect(a.node.directory.get(id)).toBeDefined();
    expect(passes()).toBe(true);
  });

  it('twice goes on twice, and an attestation between them gives the session another token', async () => {
    const { id } = session();
    for (let round = 0; round < 2; round++) {
      a.kill();
      await a.start();
      a.log.length = 0;
      await untilClaimed(id);
      session().identityRotated();
      await sites.until('attested again', () => a.node.directory.get(id)?.member?.generation === round + 2);
    }
    expect(passes()).toBe(true);
    expect(standing.kept.size).toBe(1);
  });

  it('in order takes everything away: nothing is kept, no peer stays', async () => {
    const { device } = a.node.overlay ?? {};
    let isStopped = false;
    const stopped = Promise.resolve(a.node[Symbol.asyncDispose]()).then(() => {
      isStopped = true;
    });
    await sites.until('stopped', () => isStopped);
    await stopped;
    expect(standing.kept.size).toBe(0);
    expect((await sites.a.dataplane.network.links()).some(({ ifindex }) => ifindex === device?.ifindex)).toBe(false);
  });
});

describe('a session that owes an attestation when its enforcer dies', () => {
  const ATTEST_MS = 30_000;

  /** As it is kept: on the way to bytes and back. */
  function throughBytes(): void {
    const circumstances = new Uint8Array(32);
    standing.load = async () =>
      [...standing.kept.values()].flatMap((kept) => decodeKept(encodeKept(kept, circumstances), circumstances) ?? []);
  }

  /** As when its peer said 3 ten seconds ago, and its terminator, which was taken over, lets nobody attest. */
  function owing(): string {
    const { id } = session();
    a.kill();
    const [kept] = standing.kept.values();
    if (kept === undefined) throw new Error('nothing kept');
    const attestsByMs = sites.clock.monotonic() + 20_000;
    const fallen = { ...kept.standing, peerLevel: 3 as const, judgedLevel: 3 as const, attestsByMs };
    standing.kept.set(id, { ...kept, standing: fallen });
    throughBytes();
    return id;
  }

  it('attack: a terminator gains nothing by a restart: it owes it to the next one, which gives it as long again', async () => {
    const id = owing();
    await a.start();
    await untilClaimed(id);
    const { attestsByMs = 0 } = a.node.directory.get(id) ?? {};
    expect(attestsByMs - sites.clock.monotonic()).toBeGreaterThan(ATTEST_MS - 1_000);
    await sites.clock.advance(attestsByMs - sites.clock.monotonic() - 1_000);
    expect(a.node.directory.get(id)).toBeDefined();
    await sites.clock.advance(3_000);
    expect(a.node.directory.get(id)).toBeUndefined();
  });

  it('twice owes it twice', async () => {
    const id = owing();
    for (let round = 0; round < 2; round++) {
      await a.start();
      expect(a.node.directory.get(id)).toMatchObject({
        judgedLevel: 3,
        attestsByMs: sites.clock.monotonic() + ATTEST_MS,
      });
      a.log.length = 0;
      await untilClaimed(id);
      a.kill();
    }
    await a.start();
  });

  it('owes it too when the level fell while none ran', async () => {
    const { id } = session();
    a.kill();
    await sites.a.dataplane.flows.setPosture(3);
    await a.start();
    expect(a.node.directory.get(id)).toMatchObject({
      judgedLevel: 3,
      attestsByMs: sites.clock.monotonic() + ATTEST_MS,
    });
  });

  it('and whose level fell no further than where a token may be cached owes nothing', async () => {
    const { id } = session();
    a.kill();
    await sites.a.dataplane.flows.setPosture(4);
    await a.start();
    expect(a.node.directory.get(id)).toMatchObject({ judgedLevel: 4 });
    expect(a.node.directory.get(id)?.attestsByMs).toBeUndefined();
  });
});

describe('a session that stood when its enforcer died ends', () => {
  beforeEach(() => {
    former = session().id;
    a.kill();
  });

  it('when its terminator does not come back in time', async () => {
    await a.terminator[Symbol.asyncDispose]();
    await a.start();
    expect(await peers()).toHaveLength(1);
    await sites.clock.advance(GRACE_MS + 1_000);
    await sites.until('nothing kept', () => !standing.kept.has(former));
    expect(a.node.directory.get(former)).toBeUndefined();
  });

  it('in the terminator when no enforcer comes in time', async () => {
    await sites.until('given up', () => a.lost !== undefined, 500);
    expect(a.lost).toBeDefined();
    await a.start();
  });

  it('at once when the posture fell to 1 meanwhile: no peer is left in the kernel', async () => {
    await sites.a.dataplane.flows.setPosture(1);
    await a.start();
    expect(await peers()).toEqual([]);
    expect(standing.kept.size).toBe(0);
    await untilGone();
  });

  it('when somebody took the filter off its tunnel: there is no moment in which packets pass unjudged', async () => {
    const [ifindex] = sites.a.dataplane.flows.attached;
    await sites.a.dataplane.flows.detach(ifindex ?? 0);
    await a.start();
    expect(a.node.directory.get(former)).toBeUndefined();
    expect(a.node.overlay?.device.ifindex).not.toBe(ifindex);
    await untilGone();
  });

  it('when it expired meanwhile', async () => {
    const [kept] = standing.kept.values();
    if (kept === undefined) throw new Error('nothing kept');
    const { admission } = kept.standing;
    const expired = { ...kept.standing, admission: { ...admission, expiresAt: sites.clock.now() } };
    standing.kept.set(former, { ...kept, standing: expired });
    await a.start();
    expect(a.node.directory.get(former)).toBeUndefined();
    await untilGone();
  });

  it('when it was revoked meanwhile: nothing of it is taken on', async () => {
    await a.start(await judging((peer) => ({ kind: 'identity', identity: peer }), 'before'));
    expect(await peers()).toEqual([]);
    expect(standing.kept.size).toBe(0);
    await untilGone();
  });

  it.each<[string, (peer: SpiffeId) => Revoked]>([
    ['its session', () => ({ kind: 'session', session: former })],
    ['its peer', (identity) => ({ kind: 'identity', identity })],
    [
      'all that was issued before',
      (identity) => ({ kind: 'issued-before', timeMs: sites.clock.now() + 1, of: { identity } }),
    ],
  ])('when the feed tells after the restart that %s was revoked, before its terminator came', async (_, what) => {
    const world = await judging(what, 'after');
    const node = await a.start(world);
    expect(await peers()).toHaveLength(1);
    for (const statement of world.late) await node.revocations.offer(statement);
    expect(await peers()).toEqual([]);
    expect(standing.kept.size).toBe(0);
    await untilGone();
  });

  it('when a record names another peer than the kernel has: nobody gets its tunnel', async () => {
    const [kept] = standing.kept.values();
    if (kept === undefined) throw new Error('nothing kept');
    const { member } = kept.standing;
    const spec = { ...member.spec, publicKey: new Uint8Array(32).fill(9) };
    standing.kept.set(former, { ...kept, standing: { ...kept.standing, member: { ...member, spec } } });
    await a.start();
    expect(a.node.directory.get(former)).toBeUndefined();
    await untilGone();
  });

  it('when a record claims more than the kernel has for the peer', async () => {
    const [kept] = standing.kept.values();
    if (kept === undefined) throw new Error('nothing kept');
    const { member } = kept.standing;
    const spec = { ...member.spec, prefixes: member.spec.prefixes.slice(1) };
    standing.kept.set(former, { ...kept, standing: { ...kept.standing, member: { ...member, spec } } });
    await a.start();
    expect(a.node.directory.get(former)).toBeUndefined();
    await untilGone();
  });
});

/** What an enforcer is made of that hears of one revocation, kept by the former run or told to this one. */
async function judging(what: (peer: SpiffeId) => Revoked, told: 'before' | 'after') {
  const issuer = testIssuer('spiffe://a.test/revocation', 1);
  const peer = standing.kept.get(former)?.standing.admission.peer.spiffeId;
  if (peer === undefined) throw new Error('nothing kept');
  const statement = issuer.statement(1, what(id(peer)));
  const keys = [{ issuer: issuer.issuer, publicKey: Uint8Array.from(issuer.publicKey) }];
  const { config } = sites.a.world;
  const kept = told === 'before' ? [parseStatement(statement)] : [];
  return {
    config: { ...config, revocation: { ...config.revocation, keys } },
    revocations: { ...forgetfulRevocations(), kept: { statements: kept, contradictions: [] } },
    late: told === 'after' ? [statement] : [],
  };
}

describe('a terminator that was taken over', () => {
  /** Claims with the survival of the enforcer that runs, as somebody else than who held the session. */
  function claim(id: string, token: Uint8Array): readonly string[] {
    const stolen: string[] = [];
    const thief = { inherit: ({ admission }) => stolen.push(admission.id) } as Pick<LocalEnforcer, 'inherit'>;
    a.node.survival?.orphans.claim([{ session: id, token }], thief as LocalEnforcer);
    return stolen;
  }

  it('does not get a session by a token that it forged, nor by the hash that is kept of the right one', async () => {
    const { id } = session();
    const hash = standing.kept.get(id)?.resumeHash ?? new Uint8Array(32);
    a.kill();
    await a.start();
    expect(claim(id, new Uint8Array(32))).toEqual([]);
    expect(claim(id, hash)).toEqual([]);
    await untilClaimed(id);
  });

  it('does not get the session of another one by the token of its own', async () => {
    const { id, admission } = session();
    const token = admission.resumeToken ?? new Uint8Array(0);
    a.kill();
    await a.start();
    expect(claim('0'.repeat(32), token)).toEqual([]);
    await untilClaimed(id);
  });

  it('does not get a session that its terminator has claimed, even by the right token', async () => {
    const { id, admission } = session();
    const token = admission.resumeToken ?? new Uint8Array(0);
    expect(token).toHaveLength(32);
    a.kill();
    await a.start();
    await untilClaimed(id);
    expect(claim(id, token)).toEqual([]);
    expect(passes()).toBe(true);
  });
});
