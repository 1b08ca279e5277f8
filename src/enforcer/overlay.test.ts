/** Joining is all or nothing, whatever step fails; leaving takes everything it can, whatever step fails. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { parseAddress } from '../../protocol/net/address.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import {
  establish,
  footprint,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  PRINTER,
  REQUEST,
} from '../../test/support/memory-nodes.ts';
import { turnEnded } from '../base/clock.ts';
import type { MemberSpec } from './member.ts';
import { Nonces } from './nonces.ts';
import { Slots } from './slots.ts';

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;

beforeEach(async () => {
  world = new MemoryWorld();
  a = await world.node('a');
  b = await world.node('b');
});
afterEach(() => world[Symbol.asyncDispose]());

type Step =
  | 'flows.setPeerLevel'
  | 'flows.pinSources'
  | 'flows.install'
  | 'flows.activate'
  | 'flows.extend'
  | 'flows.deactivate'
  | 'flows.remove'
  | 'flows.unpinSources'
  | 'device.addPeer'
  | 'device.removePeer'
  | 'device.removePeers'
  | 'network.addRoutes'
  | 'network.removeRoutes';

describe('joining', () => {
  it.each<Step>([
    'flows.setPeerLevel',
    'flows.pinSources',
    'flows.install',
    'flows.activate',
    'device.addPeer',
    'network.addRoutes',
  ])('when %s fails, before or after it took effect, leaves nothing', async (step) => {
    for (const when of ['before', 'after'] as const) {
      using _fault = fail(b, step, when);
      expect(await reason(establish(a, b)), when).toBe('DATAPLANE_FAILED');
      expect(await footprint(b.dataplane, b.overlay), when).toEqual(NOTHING);
      expect(b.overlay.members).toEqual([]);
    }
    await establish(a, b);
    expect(b.dataplane.flows.sessions, 'the slots came back').toEqual([1]);
  });

  it('fails in undoing too: the other steps are undone all the same', async () => {
    using _first = fail(b, 'network.addRoutes', 'after');
    using _second = fail(b, 'device.removePeer', 'before');
    await expect(establish(a, b)).rejects.toThrow();
    expect(await footprint(b.dataplane, b.overlay)).toEqual({ ...NOTHING, peers: 1 });
  });
});

it('ends only when who was leaving already has left', async () => {
  await establish(a, b);
  const [member] = b.overlay.members;
  const { device } = b.overlay;
  const { promise: isAnswered, resolve: answer } = Promise.withResolvers<void>();
  const { removePeers } = device;
  device.removePeers = async (keys) => {
    await isAnswered;
    return await removePeers.call(device, keys);
  };
  const seen: string[] = [];
  const left = member === undefined ? undefined : b.overlay.leave(member).then(() => seen.push('left'));
  await expect.poll(() => b.overlay.members).toEqual([]);
  const ended = b.overlay[Symbol.asyncDispose]().then(() => seen.push('ended'));
  await turnEnded();
  answer();
  await Promise.all([left, ended]);
  expect(seen).toEqual(['left', 'ended']);
});

describe('renewing', () => {
  it.each<Step>(['device.removePeer', 'flows.setPeerLevel', 'flows.extend', 'device.addPeer'])(
    'with the same reach: when %s fails nothing passes any more, and the release takes the rest',
    async (step) => {
      const { hosted } = await establish(a, b);
      {
        using _fault = fail(b, step, 'before');
        expect(await reason(establish(a, b, { renews: hosted.id }))).toBe('DATAPLANE_FAILED');
      }
      expect(b.dataplane.flows.entries.policies).toBe(0);
      await b.enforcer.release(hosted.id, 'DATAPLANE_FAILED');
      expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
    },
  );

  it.each<Step>([
    'flows.remove',
    'network.removeRoutes',
    'flows.unpinSources',
    'flows.pinSources',
    'flows.install',
    'flows.activate',
    'network.addRoutes',
    'device.addPeer',
  ])('with another reach: when %s fails nothing passes any more, and the release takes the rest', async (step) => {
    const { hosted } = await establish(a, b);
    const request = { ...REQUEST, advertise: [parsePrefix('10.1.0.0/24')] };
    for (const when of ['before', 'after'] as const) {
      using _fault = fail(b, step, when);
      if (b.overlay.members.length > 0) {
        await expect(establish(a, b, { renews: hosted.id, request })).rejects.toThrow();
      }
    }
    await b.enforcer.release(hosted.id, 'DATAPLANE_FAILED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
    await establish(a, b);
  });

  it('puts the new reach in the place of the old', async () => {
    const { hosted } = await establish(a, b);
    const request = { ...REQUEST, advertise: [parsePrefix('10.1.0.0/24')] };
    await establish(a, b, { renews: hosted.id, request });
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1, sources: 2, routes: 2 });
    expect(b.overlay.members.map(({ generation }) => generation)).toEqual([2]);
  });
});

describe('attack: a member renews for what another one has:', () => {
  const OTHERS = [parsePrefix('10.1.0.0/24')];

  it.each<[string, (own: MemberSpec, other: MemberSpec) => MemberSpec]>([
    ['PREFIX_OVERLAP', (own) => ({ ...own, prefixes: [...own.prefixes, ...OTHERS] })],
    ['WIREGUARD_KEY_TAKEN', (own, { publicKey }) => ({ ...own, publicKey })],
    ['WIREGUARD_KEY_TAKEN', (_, other) => other],
  ])('%s, and that one keeps its pins, its routes and its peer, while the member’s own go', async (refusal, wanted) => {
    const c = await world.node('c');
    await establish(a, b, { request: { ...REQUEST, advertise: OTHERS } });
    const before = await standing(b);
    expect(before.passes).toBe('PASS');
    await establish(c, b);
    const [other, own] = b.overlay.members;
    if (other === undefined || own === undefined) throw new Error('two joined');
    expect(await reason(b.overlay.rejoin(own, wanted(own.spec, other.spec)))).toBe(refusal);
    expect(await standing(b)).toEqual(before);
    await b.overlay.leave(own);
    expect(await standing(b)).toEqual(before);
  });

  it('by its attestation, at the responder', async () => {
    const c = await world.node('c');
    await establish(a, b, { request: { ...REQUEST, advertise: OTHERS } });
    const before = await standing(b);
    const { hosted } = await establish(c, b);
    const request = { ...REQUEST, advertise: OTHERS };
    expect(await reason(establish(c, b, { renews: hosted.id, request }))).toBe('PREFIX_OVERLAP');
    expect(await standing(b)).toEqual(before);
  });

  it('and when it renews for what nobody has, and fails, all that it wrote goes, and nothing else', async () => {
    const c = await world.node('c');
    await establish(a, b, { request: { ...REQUEST, advertise: OTHERS } });
    const before = await standing(b);
    const { hosted } = await establish(c, b);
    const request = { ...REQUEST, advertise: [parsePrefix('10.1.7.0/24')] };
    using _fault = fail(b, 'device.addPeer', 'after');
    expect(await reason(establish(c, b, { renews: hosted.id, request }))).toBe('DATAPLANE_FAILED');
    expect(await standing(b)).toEqual(before);
  });

  it('by its grant, at the initiator', async () => {
    const c = await world.node('c');
    const request = { ...REQUEST, targets: [PRINTER] };
    await establish(b, a, { request });
    const before = await standing(b);
    const { hosted } = await establish(b, c, { request: { ...REQUEST, targets: [] } });
    expect(await reason(establish(b, c, { renews: hosted.id, request }))).toBe('PREFIX_OVERLAP');
    expect(await standing(b)).toEqual(before);
  });
});

describe('leaving', () => {
  it.each<[Step, object]>([
    ['flows.deactivate', {}],
    ['device.removePeers', { peers: 1 }],
    ['flows.remove', { sessions: 1, policies: 1 }],
    ['flows.unpinSources', { sources: 1 }],
    ['network.removeRoutes', { routes: 1 }],
  ])('when %s fails takes all the rest', async (step, left) => {
    const { hosted } = await establish(a, b);
    using _fault = fail(b, step, 'before');
    await expect(b.enforcer.release(hosted.id, 'CLOSED')).rejects.toThrow();
    expect(await footprint(b.dataplane, b.overlay)).toEqual({ ...NOTHING, ...left });
  });

  it('is one batch for all who ask in one moment; what fails in it is told to each, and the rest is taken', async () => {
    const c = await world.node('c');
    await establish(a, b);
    await establish(c, b);
    const batches: number[] = [];
    const removePeers = b.overlay.device.removePeers.bind(b.overlay.device);
    b.overlay.device.removePeers = (keys) => {
      batches.push(keys.length);
      return removePeers(keys);
    };
    using _fault = fail(b, 'flows.unpinSources', 'before');
    const [one, other, again] = await Promise.allSettled(
      [...b.overlay.members, ...b.overlay.members.slice(0, 1)].map((member) => b.overlay.leave(member)),
    );
    expect(batches).toEqual([2]);
    for (const left of [one, other, again]) expect(left?.status).toBe('rejected');
    expect(await footprint(b.dataplane, b.overlay)).toEqual({ ...NOTHING, sources: 2 });
  });

  it('is idempotent and leaves the tunnels of others alone', async () => {
    const c = await world.node('c');
    const [first, second] = [await establish(a, b), await establish(c, b)];
    await Promise.all([1, 2].map(() => b.enforcer.release(first.hosted.id, 'CLOSED')));
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
    await b.enforcer.release(second.hosted.id, 'CLOSED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

describe('a peer that comes again', () => {
  it('takes the place of its former session, which is revoked', async () => {
    const first = await establish(a, b);
    await establish(a, b);
    expect(b.revoked).toEqual([first.hosted.id]);
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
  });

  it('and fails revokes the former session too: its tunnel is gone, so it must end', async () => {
    const first = await establish(a, b);
    using _fault = fail(b, 'device.addPeer', 'before');
    const error: unknown = await establish(a, b).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(ShellstreamError);
    expect(error).toMatchObject({ reason: 'DATAPLANE_FAILED' });
    expect(b.revoked).toEqual([first.hosted.id]);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('and is refused for its prefixes leaves the former session as it was', async () => {
    const c = await world.node('c');
    await establish(c, b, { request: { ...REQUEST, advertise: [parsePrefix('10.1.0.0/24')] } });
    await establish(a, b);
    const before = await footprint(b.dataplane, b.overlay);
    const request = { ...REQUEST, advertise: [parsePrefix('10.1.0.0/24')] };
    const error: unknown = await establish(a, b, { request }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ reason: 'PREFIX_OVERLAP' });
    expect(b.revoked).toEqual([]);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(before);
  });
});

describe('posture that changes between two steps', () => {
  it('and refuses a peer that comes again: the former session is revoked, for its tunnel is gone', async () => {
    const first = await establish(a, b);
    using _change = during(b, 'device.addPeer', () => b.change(3));
    const error: unknown = await establish(a, b).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ reason: 'POSTURE_CHANGED' });
    expect(b.revoked).toEqual([first.hosted.id]);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('at the peer, during a renewal, stays in the kernel: the renewal’s own older level is looser', async () => {
    const { hosted } = await establish(a, b);
    const written: number[] = [];
    const setPeerLevel = b.dataplane.flows.setPeerLevel.bind(b.dataplane.flows);
    b.dataplane.flows.setPeerLevel = async (slot, level) => {
      written.push(level);
      await setPeerLevel(slot, level);
    };
    using _change = during(b, 'device.removePeer', () => void b.enforcer.setPeerLevel(hosted.id, 3));
    await establish(a, b, { renews: hosted.id });
    expect(written).toEqual([3, 3]);
    await b.enforcer.setPeerLevel(hosted.id, 5);
    expect(written).toEqual([3, 3, 5]);
  });

  it('to 1 and back, while a peer joins, leaves it its tunnel', async () => {
    const reopened: Promise<void>[] = [];
    {
      using _change = during(b, 'network.addRoutes', async () => {
        await b.overlay.close();
        reopened.push(b.overlay.reopen(5));
      });
      await establish(a, b);
    }
    await Promise.all(reopened);
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1, routes: 1 });
  });
});

describe('slots', () => {
  it('never give the same slot and generation twice', () => {
    const slots = new Slots({ first: 1, size: 5 });
    const seen = new Set<string>();
    const held: number[] = [];
    for (let i = 0; i < 5_000; i++) {
      if (held.length === 4) for (const slot of held.splice(0, 1 + (i % 4))) slots.giveBack(slot);
      const { slot, generation } = slots.take();
      held.push(slot);
      expect(generation).toBeGreaterThan(0);
      seen.add(`${slot} ${generation}`);
      if (i % 3 === 0) seen.add(`${slot} ${slots.nextGeneration(slot)}`);
    }
    expect(seen.size).toBe(5_000 + Math.ceil(5_000 / 3));
  });

  it('of many sessions never have one generation of a slot twice in the flow maps', async () => {
    const seen = new Set<string>();
    const install = b.dataplane.flows.install.bind(b.dataplane.flows);
    b.dataplane.flows.install = async (session, rules) => {
      seen.add(`${session.sessionSlot} ${session.generation}`);
      await install(session, rules);
    };
    for (let i = 0; i < 200; i++) {
      const { hosted } = await establish(a, b);
      if (i % 3 !== 0) await b.enforcer.release(hosted.id, 'CLOSED');
    }
    expect(seen.size).toBe(200);
  });

  it('run out with SESSION_LIMIT, and stay usable', () => {
    const slots = new Slots({ first: 1, size: 3 });
    const [one] = [slots.take(), slots.take()];
    for (let i = 0; i < 3; i++) expect(() => slots.take()).toThrow(/SESSION_LIMIT/);
    slots.giveBack(one?.slot ?? 0);
    expect(slots.take()).toEqual({ slot: 1, generation: 2 });
  });
});

describe('nonces', () => {
  it('attack: a flood of half-open handshakes costs a fixed amount; the oldest are forgotten', () => {
    const nonces = new Nonces(world.clock, { lifetimeMs: 30_000, limit: 16 });
    for (let i = 0; i < 10_000; i++) nonces.issue(nonce(i), false);
    expect(nonces.pending).toBe(16);
    expect(nonces.take(nonce(9_983))).toBeUndefined();
    expect(nonces.take(nonce(9_984))).toMatchObject({ freshSat: false });
  });

  it('are good once, and only within their lifetime', async () => {
    const nonces = new Nonces(world.clock, { lifetimeMs: 30_000, limit: 16 });
    nonces.issue(nonce(1), true);
    nonces.issue(nonce(2), true);
    expect(nonces.take(nonce(1))).toMatchObject({ freshSat: true });
    expect(nonces.take(nonce(1))).toBeUndefined();
    await world.clock.advance(30_000);
    expect(nonces.take(nonce(2))).toBeUndefined();
    expect(nonces.pending).toBe(0);
  });
});

/** Makes one step of a node's data plane fail, before it does anything or after it did. */
function fail(node: MemoryNode, step: Step, when: 'before' | 'after'): Disposable {
  return instead(node, step, async (original) => {
    if (when === 'after') await original();
    throw new ShellstreamError('DATAPLANE_FAILED', `${step} was made to fail`);
  });
}

function instead(node: MemoryNode, step: Step, act: (original: () => Promise<unknown>) => Promise<void>): Disposable {
  const [part = '', verb = ''] = step.split('.');
  const owners: Record<string, object> = {
    flows: node.dataplane.flows,
    network: node.dataplane.network,
    device: node.overlay.device,
  };
  const owner = owners[part] ?? {};
  const original: unknown = Reflect.get(owner, verb);
  if (typeof original !== 'function') throw new Error(`no step ${step}`);
  Reflect.set(owner, verb, (...args: unknown[]) => act(async () => Reflect.apply(original, owner, args)));
  return { [Symbol.dispose]: () => void Reflect.deleteProperty(owner, verb) };
}

/** Does something before one step of a node's data plane is taken. */
function during(node: MemoryNode, step: Step, action: () => unknown): Disposable {
  return instead(node, step, async (original) => {
    await action();
    await original();
  });
}

let lastPort = 50_000;

/** What stands in a node's data plane, and what becomes of a new flow from 10.1.0.5 to the target behind it. */
async function standing({ dataplane, overlay }: MemoryNode) {
  const { live: _, ...counts } = await footprint(dataplane, overlay);
  const peers = await overlay.device.peers();
  lastPort += 1;
  const passes = dataplane.flows.judge({
    kind: 'tcp',
    source: parseAddress('10.1.0.5'),
    destination: parseAddress('10.2.0.10'),
    sourcePort: lastPort,
    destinationPort: 8080,
    flags: 2,
    ifindex: overlay.device.ifindex,
    direction: 'in',
  });
  return {
    passes,
    counts,
    routes: await dataplane.network.routes(),
    peers: peers.map(({ publicKey, allowedIps }) => ({ publicKey, allowedIps })),
  };
}

async function reason(work: Promise<unknown>): Promise<string> {
  return await work.then(() => 'nothing failed', reasonOf);
}

function nonce(number: number): Uint8Array {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}
