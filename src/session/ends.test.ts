/**
 * DESIGN §2: every kind of live object × every trigger that ends it. Two whole gateways and a visitor with a stream, no
 * kernel, one simulated clock; the only socket is the stream's target on loopback.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { eventually } from '../../test/support/eventually.ts';
import type { NOTHING } from '../../test/support/memory-nodes.ts';
import { MemorySites, type Visitor } from '../../test/support/memory-sites.ts';
import type { SessionStream } from './stream.ts';

let sites: MemorySites;
let host: Server;
let hosted = 0;
let visitor: Visitor;
let stream: SessionStream;

beforeEach(async () => {
  sites = await MemorySites.connected({ jwtTtlMs: 40_000 });
  hosted = 0;
  host = createServer((socket) => {
    hosted += 1;
    socket.on('error', () => undefined).on('close', () => (hosted -= 1));
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(host, 'listening');
  const address = host.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const target = { prefix: parsePrefix('127.0.0.1/32'), protocol: 6, port };
  visitor = await sites.visitor('management', [target]);
  stream = await visitor.session.streams.open(target);
  // Half a handshake: somebody who connected and says nothing.
  const { signal } = new AbortController();
  await sites.internet.host('192.0.2.77').dial({ host: '192.0.2.2', port: 7843 }, { timeoutMs: 1, signal });
});

afterEach(async () => {
  sites.network.isBlackHole = false;
  await sites[Symbol.asyncDispose]();
  host.close();
});

/** How many of each kind are alive. */
async function alive() {
  const { a, b } = sites;
  const both = { a: await a.footprint(), b: await b.footprint() };
  const sum = (kind: keyof typeof NOTHING): number => both.a[kind] + both.b[kind];
  return {
    'sessions of either gateway': sessionsOf(a) + sessionsOf(b),
    'the visitor’s session': visitor.session.state === 'ended' ? 0 : 1,
    streams: (stream.destroyed ? 0 : 1) + hosted,
    'flow sessions': sum('sessions'),
    flows: sum('policies'),
    'pinned sources': sum('sources'),
    'tunnel peers': sum('peers'),
    routes: sum('routes'),
    'pending handshakes': pendingOf(b),
  };
}

const ALL_ALIVE = {
  'sessions of either gateway': 3,
  'the visitor’s session': 1,
  streams: 2,
  'flow sessions': 2,
  flows: 4,
  'pinned sources': 3,
  'tunnel peers': 2,
  routes: 3,
  'pending handshakes': 1,
};

const NONE_ALIVE = Object.fromEntries(Object.keys(ALL_ALIVE).map((kind) => [kind, 0]));

interface Trigger {
  readonly name: string;
  readonly pull: () => unknown;
  /** What the responder's sessions ended with; undefined where it is gone itself. */
  readonly ends?: readonly string[];
}

const TRIGGERS: readonly Trigger[] = [
  {
    name: 'posture 5 → 1 at both ends',
    pull: () => {
      void sites.b.gateway.posture.state('console', 1, 'test');
      void sites.a.gateway.posture.state('console', 1, 'test');
    },
  },
  {
    name: 'posture 5 → 1 at the responder',
    pull: () => sites.b.gateway.posture.state('console', 1, 'test'),
    ends: ['POSTURE_ISOLATED', 'POSTURE_ISOLATED'],
  },
  {
    name: 'posture 5 → 1 of every initiator',
    pull: () => {
      visitor.posture.level = 1;
      visitor.posture.epoch += 1n;
      visitor.session.ownPostureChanged();
      return sites.a.gateway.posture.state('console', 1, 'test');
    },
    ends: ['POSTURE_ISOLATED', 'POSTURE_ISOLATED'],
  },
  {
    name: 'deadline: nobody attests again in time',
    pull: () => {
      sites.network.isBlackHole = true;
      return sites.clock.advance(40_000);
    },
    ends: ['EXPIRED', 'EXPIRED'],
  },
  {
    name: 'deadline: attesting again fails, as the token is refused',
    pull: () => {
      for (const site of [sites.a, sites.b]) site.source.fetchSat = () => Promise.reject(new Error('no token'));
      visitor.session.end('CLOSED');
      return sites.clock.advance(25_000);
    },
  },
  {
    name: 'drain by the operator, streams still open at its deadline',
    pull: () => void sites.b.gateway.registry.drainAll('OPERATOR_DRAIN', 3_000),
    ends: ['OPERATOR_DRAIN', 'OPERATOR_DRAIN'],
  },
  {
    name: 'close by the responder',
    pull: () => sites.b.gateway.registry.endAll('CLOSED'),
    ends: ['CLOSED', 'CLOSED'],
  },
  {
    name: 'close by the initiators',
    pull: () => {
      visitor.session.end('CLOSED');
      sites.a.session.end('CLOSED');
    },
    ends: ['CLOSED', 'CLOSED'],
  },
  {
    name: 'loss of the connections',
    pull: () => sites.internet.cut(),
    ends: ['CONNECTION_LOST', 'CONNECTION_LOST'],
  },
  { name: 'shutdown of the responder', pull: () => void sites.b.stop() },
  {
    name: 'shutdown of the initiators',
    pull: () => {
      visitor.session.end('SHUTTING_DOWN');
      void sites.a.stop();
    },
    ends: ['SHUTTING_DOWN', 'SHUTTING_DOWN'],
  },
  {
    name: 'a data plane that cannot be told the peer’s level',
    pull: () => {
      sites.b.dataplane.flows.setPeerLevel = () => Promise.reject(new Error('told to fail'));
      visitor.session.end('CLOSED');
      return sites.a.gateway.posture.state('console', 4, 'test');
    },
    ends: ['CLOSED', 'DATAPLANE_FAILED'],
  },
];

describe('every kind of live object', () => {
  it('is alive before', async () => {
    expect(await alive()).toEqual(ALL_ALIVE);
  });

  it.each(TRIGGERS)('is gone after $name', async ({ pull, ends }) => {
    // Whatever ends must not come back while it is counted.
    sites.internet.isUp = false;
    const [atA, atB] = [sites.a, sites.b];
    void pull();
    await sites.until(
      'everything is gone',
      async () => JSON.stringify(await alive()) === JSON.stringify(NONE_ALIVE),
      500,
    );
    expect(await alive()).toEqual(NONE_ALIVE);
    if (ends !== undefined) expect([...atB.ends].sort()).toEqual(ends);
    for (const { log } of [atA, atB]) expect(log.filter(({ message }) => message.includes('not fully'))).toEqual([]);
  });

  it('is gone after silence', async () => {
    // Re-attestation would end it sooner.
    sites.internet.isUp = false;
    sites.network.isBlackHole = true;
    await sites.clock.advance(61_000);
    // The target's socket is real, and the simulated clock does not wait for it.
    await eventually('the target left alone', () => hosted === 0);
    expect(await alive()).toEqual(NONE_ALIVE);
  });
});

function sessionsOf(site: MemorySites['a']): number {
  return site.isRunning ? site.gateway.registry.size : 0;
}

function pendingOf(site: MemorySites['a']): number {
  return site.isRunning ? site.gateway.terminator.admission.pending : 0;
}
