/** Posture of live sessions, between two whole gateways on one simulated clock. */
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../protocol/capability/index.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { eventually } from '../../test/support/eventually.ts';
import { type LoopbackEcho, loopbackEcho } from '../../test/support/loopback-echo.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';

let sites: MemorySites;
let echo: LoopbackEcho;
let target: Target;

beforeEach(async () => {
  sites = await MemorySites.connected();
  echo = await loopbackEcho();
  target = echo.target;
});
afterEach(async () => {
  sites.network.isBlackHole = false;
  await sites[Symbol.asyncDispose]();
  echo[Symbol.dispose]();
});

describe('going to 1', () => {
  it('the peer sees DRAIN with level 1 before the end, not a POSTURE', async () => {
    const visitor = await sites.visitor('management', [target]);
    const heard: unknown[] = [];
    sites.a.gateway.registry.onEvent((event) => {
      if (event.kind !== 'opened' && event.kind !== 'draining')
        heard.push([event.kind, event.reason, 'level' in event ? event.level : undefined]);
    });
    sites.internet.isUp = false;
    await say('b', 1);
    await sites.until('all sessions ended', () => sites.a.gateway.registry.size === 0);
    expect(visitor.heard).toEqual(['drain POSTURE_ISOLATED 1', 'end POSTURE_ISOLATED']);
    expect(heard).toEqual([
      ['drain-received', 'POSTURE_ISOLATED', 1],
      ['ended', 'POSTURE_ISOLATED', undefined],
    ]);
    await sites.untilNothingStands();
  });

  it('the mesh is told first, however late it came: its peers are held by what they hear in half a second', async () => {
    await sites.visitor('management', [target]);
    const { registry } = sites.b.gateway;
    const types = (): readonly string[] => registry.all.map(({ admission }) => admission.offer.sessionType);
    registry.all.find(({ admission }) => admission.offer.sessionType === 'mesh')?.end('CLOSED');
    await sites.until('the mesh again, behind the visitor', () => types().join() === 'management,mesh');
    const told: string[] = [];
    registry.onEvent(({ kind, session }) => told.push(`${session.admission.offer.sessionType} ${kind}`));
    await say('b', 1);
    expect(told).toEqual(['mesh ended', 'management ended']);
  });

  it('and back: released, sessions open again, and the data plane of both holds just the new one', async () => {
    await say('b', 1);
    expect(sites.b.gateway.registry.size).toBe(0);
    await say('b', 5);
    await sites.until('a hold', () => sites.a.gateway.holds.all.length === 1);
    await sites.clock.advance(120_000);
    expect([sites.a.gateway.registry.size, sites.b.gateway.registry.size]).toEqual([0, 0]);
    await sites.release();
    await sites.meet();
    expect(await sites.b.footprint()).toMatchObject({ sessions: 1, peers: 1, policies: 2 });
    expect(await sites.a.footprint()).toMatchObject({ sessions: 1, peers: 1, policies: 2 });
  });

  it('the connections of all sessions may carry the last word from before the map says 1, and none after it is over', async () => {
    await sites.visitor('management', [target]);
    const { flows } = sites.b.dataplane;
    const setPosture = flows.setPosture.bind(flows);
    let atLockdown: number | undefined;
    flows.setPosture = async (level) => {
      if (level === 1) atLockdown = flows.controls;
      await setPosture(level);
    };
    await say('b', 1);
    expect(atLockdown).toBe(2);
    await say('b', 5);
    expect(flows.controls).toBe(0);
  });

  it('ten times 1 and 5 in a row, at either end, comes to rest with one session', async () => {
    for (const name of ['a', 'b'] as const) {
      for (let i = 0; i < 10; i++) {
        void say(name, 1);
        if (i % 3 === 0) await sites.clock.advance(i * 10);
        void say(name, 5);
        if (i % 2 === 0) await sites.clock.advance(i * 20);
      }
      await sites.until('calm', async () => {
        await sites.release();
        await sites.clock.advance(40_000);
        return sites.a.gateway.registry.size === 1 && sites.b.gateway.registry.size === 1;
      });
      expect(sites.a.session.id).toBe(sites.b.session.id);
      expect(await sites.b.footprint()).toMatchObject({ sessions: 1, peers: 1, policies: 2 });
      expect(await sites.a.footprint()).toMatchObject({ sessions: 1, peers: 1, policies: 2 });
    }
  });
});

describe('going to 3', () => {
  it('drains who was granted more than 3 gives, and has the rest attest again with a bound token', async () => {
    const visitor = await sites.visitor('management', [target]);
    await say('b', 3);
    await sites.until('attested again', () => visitor.heard.includes('attested again'));
    await sites.until('the mesh too', () => sites.a.session.admission.tunnelGeneration === 2);
    expect(sites.a.tokens.minted.at(-1)).toMatch(/^spiffe:\/\/b\.test\/gateway#[A-Za-z0-9_-]{43}$/);
    expect(sites.a.session.effectiveLevel).toBe(3);
    expect(visitor.session.effectiveLevel).toBe(3);
  });

  it('lets what is under way finish, then ends; nobody attests again for a session that is ending', async () => {
    const wider = ['OBSERVE', 'CONNECT', 'PROPOSE'] as const;
    const busy = await sites.visitor('operator', [target], '/busy', wider, 'journeyman');
    const endless = await sites.visitor('operator', [target], '/endless', wider, 'journeyman');
    const [finishing, going] = [await busy.session.streams.open(target), await endless.session.streams.open(target)];
    const echoed: Buffer[] = [];
    finishing.on('data', (bytes: Buffer) => echoed.push(bytes));
    going.on('error', () => undefined);
    const minted = [busy.tokens.minted.length, endless.tokens.minted.length];
    await say('b', 3);
    await sites.until('told', () => busy.session.state === 'draining' && endless.session.state === 'draining');
    await sites.clock.advance(3_000);
    finishing.end(Buffer.alloc(100_000, 1));
    // The target's socket is real, and the simulated clock does not wait for it.
    await once(finishing, 'end');
    await sites.until('the end of the first', () => busy.session.state === 'ended', 1);
    expect([Buffer.concat(echoed).length, finishing.errored]).toEqual([100_000, null]);
    expect(endless.session.state).toBe('draining');
    await sites.until('the end of the other', () => endless.session.state === 'ended');
    const heard = ['drain POSTURE_DRAIN 3', 'level 3', 'end POSTURE_DRAIN'];
    expect([busy.heard, endless.heard]).toEqual([heard, heard]);
    expect([busy.tokens.minted.length, endless.tokens.minted.length]).toEqual(minted);
  });

  it('waits for a reader who is behind: what came in time is not lost', async () => {
    const wider = ['OBSERVE', 'CONNECT', 'PROPOSE'] as const;
    const visitor = await sites.visitor('operator', [target], '/slow', wider, 'journeyman');
    const stream = await visitor.session.streams.open(target);
    stream.end(Buffer.alloc(20_000, 1));
    // All of it is here, unread, with the target's end behind it.
    await eventually('the echo', () => stream.readableLength === 20_000);
    await say('b', 3);
    await sites.until('told', () => visitor.heard.includes('drain POSTURE_DRAIN 3'));
    await sites.clock.advance(3_000);
    expect(visitor.session.state).toBe('draining');
    const read = stream.toArray();
    expect(Buffer.concat(await read).length).toBe(20_000);
    await sites.until('the end', () => visitor.session.state === 'ended', 1);
  });

  it('at the peer governs its session here, and no other', async () => {
    const visitor = await sites.visitor('management', [target]);
    await say('a', 3);
    await sites.until('told', () => meshAtB().effectiveLevel === 3);
    expect(meshAtB().governedBy).toBe('initiator');
    expect(visitor.session.effectiveLevel).toBe(5);
    expect(sites.b.gateway.posture.level).toBe(5);
  });
});

describe('going to 2', () => {
  it('ends what is not critical and keeps the rest', async () => {
    const operator = await sites.visitor('operator', [target], '/operator');
    const management = await sites.visitor('management', [target], '/manager');
    await say('b', 2);
    await sites.until('the operator ended', () => operator.session.state === 'ended');
    expect(operator.heard).toEqual(['drain POSTURE_END 2', 'end POSTURE_END']);
    await sites.until('the manager attested again', () => management.heard.includes('attested again'));
    expect(management.session.state).toBe('active');
    expect(sites.a.gateway.registry.size).toBe(1);
  });
});

describe('a POSTURE', () => {
  it('attack: with an epoch that is not higher is ignored: an old level is not played again', async () => {
    const visitor = await sites.visitor('management', [target]);
    const atB = sites.b.gateway.registry.get(visitor.session.id);
    const tell = async (level: PostureLevel, epoch: bigint): Promise<unknown> => {
      visitor.session.wire.send({ type: 'POSTURE', level, epoch });
      await sites.clock.advance(1);
      return atB?.peerLevel;
    };
    expect(await tell(4, 7n)).toBe(4);
    expect([await tell(5, 7n), await tell(5, 6n)]).toEqual([4, 4]);
    expect(await tell(5, 8n)).toBe(5);
  });
});

describe('sources', () => {
  it('the map’s external slot and the console hold the level together; the stricter governs', async () => {
    sites.b.dataplane.flows.setExternalPosture(2);
    await sites.until('followed', () => sites.b.gateway.posture.level === 2);
    await say('b', 5);
    expect(sites.b.gateway.posture.level).toBe(2);
    sites.b.dataplane.flows.setExternalPosture(5);
    await sites.until('followed', () => sites.b.gateway.posture.level === 5);
  });

  it('attack: a number that is no level in the map’s slot is lockdown', async () => {
    sites.internet.isUp = false;
    sites.b.dataplane.flows.setExternalPosture(77);
    await sites.until('followed', () => sites.b.gateway.posture.level === 1);
    await sites.untilNothingStands();
    expect(sites.b.dataplane.governance.state?.level).toBe(1);
  });

  it('attack: another map in the place of the one that programs read cannot loosen, and is level 2 at most', async () => {
    const { flows } = sites.b.dataplane;
    flows.replacePostureMap('foreign', 5);
    await sites.until('followed', () => sites.b.gateway.posture.level === 2);
    expect(sites.b.gateway.sources.problems).toEqual([expect.stringContaining('another one was put in its place')]);
    expect((await flows.posture()).own).toBe(2);
    flows.replacePostureMap('ours', 5);
    await sites.until('followed', () => sites.b.gateway.posture.level === 5);
    expect(sites.b.gateway.sources.problems).toEqual([]);
  });

  it('attack: who takes the map away loosens nothing of what it said', async () => {
    const { flows } = sites.b.dataplane;
    flows.setExternalPosture(3);
    await sites.until('followed', () => sites.b.gateway.posture.level === 3);
    flows.replacePostureMap('gone', 3);
    await sites.clock.advance(1_000);
    expect(sites.b.gateway.posture.level).toBe(3);
    expect(sites.b.gateway.sources.problems).toEqual([expect.stringContaining('its pin is gone')]);
  });
});

describe('the pace of an open session follows the level that governs it, at both ends:', () => {
  /** In 40 s in which nothing else happens, before the session attests again: each end asks and is answered. */
  async function checksMeanwhile(): Promise<number> {
    const before = sites.network.records;
    await sites.clock.advance(40_000);
    return (sites.network.records - before) / 2;
  }
  /** Of site-a's tunnel, which dialled, and of site-b's. */
  async function keepalives(): Promise<readonly (number | undefined)[]> {
    const devices = [sites.a, sites.b].map(({ gateway }) => gateway.overlay?.device.peers());
    return (await Promise.all(devices)).map((peers) => peers?.[0]?.keepalive);
  }

  it.for(['a', 'b'] as const)(
    'health checks come more often from 4 on, whichever end is there: site-%s',
    async (end) => {
      expect(await checksMeanwhile()).toBe(4);
      await say(end, 4);
      await sites.until('told', () => meshAtB().effectiveLevel === 4 && sites.a.session.effectiveLevel === 4);
      expect(await checksMeanwhile()).toBe(8);
      await say(end, 5);
      await sites.until('told', () => meshAtB().effectiveLevel === 5 && sites.a.session.effectiveLevel === 5);
      expect(await checksMeanwhile()).toBe(4);
    },
  );

  it('and silence is known after three of them', async () => {
    await say('b', 4);
    await sites.until('told', () => sites.a.session.effectiveLevel === 4);
    sites.internet.isUp = false;
    sites.network.isBlackHole = true;
    await sites.clock.advance(29_000);
    expect([sites.a.gateway.registry.size, sites.b.gateway.registry.size]).toEqual([1, 1]);
    await sites.clock.advance(2_000);
    expect([sites.a.ends, sites.b.ends]).toEqual([['PEER_SILENT'], ['PEER_SILENT']]);
  });

  it.for(['a', 'b'] as const)('tunnels are kept alive as often as the accord has it there: site-%s', async (end) => {
    expect(await keepalives()).toEqual([25, 0]);
    await say(end, 3);
    await sites.until('set', async () => (await keepalives())[0] === 9);
    await sites.until('attested again', () => sites.a.session.admission.tunnelGeneration === 2);
    expect(await keepalives()).toEqual([9, 0]);
    await say(end, 5);
    await sites.until('set back', async () => (await keepalives())[0] === 25);
    expect(sites.a.session.id).toBe(sites.b.session.id);
  });
});

describe('limits', () => {
  it('a session too many of one identity is denied before it is granted, and holds nothing', async () => {
    await sites[Symbol.asyncDispose]();
    sites = await MemorySites.connected({ limits: { sessionsPerIdentity: 1 } });
    await sites.visitor('management', [target], '/person');
    const before = await sites.b.footprint();
    await expect(sites.visitor('management', [target], '/person')).rejects.toMatchObject({
      reason: 'OVERLOADED',
      fields: { byPeer: true },
    });
    expect(await sites.b.footprint()).toEqual(before);
    expect(sites.b.gateway.registry.size).toBe(2);
  });

  it('attack: a connection that breaks while its token is being verified leaves nothing', async () => {
    await say('b', 3);
    await sites.until('calm', () => sites.b.session.admission.tunnelGeneration === 2);
    const before = await sites.b.footprint();
    const { validateSat } = sites.b.source;
    sites.b.source.validateSat = async (...args) => {
      const subject = await validateSat(...args);
      sites.internet.cut();
      sites.internet.isUp = false;
      return subject;
    };
    expect(before).toMatchObject({ sessions: 1 });
    await expect(sites.visitor('management', [target])).rejects.toMatchObject({ reason: 'CONNECTION_LOST' });
    await sites.untilNothingStands();
    expect(sites.b.gateway.registry.size).toBe(0);
  });
});

function say(name: 'a' | 'b', level: PostureLevel): Promise<void> {
  return sites[name].gateway.posture.state('console', level, 'test');
}

/** The mesh session at site-b, which may have visitors too. */
function meshAtB() {
  const session = sites.b.gateway.registry.all.find(({ admission }) => admission.offer.sessionType === 'mesh');
  if (session === undefined) throw new Error('no mesh session');
  return session;
}
