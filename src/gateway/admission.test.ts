/** Who may start a handshake at all: what strangers can make a gateway spend is bounded before any cryptography. */
import { afterEach, describe, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { Descriptors } from '../base/descriptors.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { AdmissionControl, type AdmissionLimits } from './admission.ts';
import { TokenBuckets } from './token-buckets.ts';

const LIMITS: AdmissionLimits = {
  pendingHandshakes: 3,
  perPrefixRate: { perSecond: 10, burst: 5 },
  handshakeBudget: { millisecondsPerSecond: 100, meshPercent: 20, meshSources: ['198.51.100.0/24', '2001:db8::7'] },
};
const STRANGER = '203.0.113.1';
const PEER = '198.51.100.1';

function control(limits: Partial<AdmissionLimits> = {}, level: PostureLevel = 5, descriptors = new Descriptors(1e6)) {
  const clock = new SimulatedClock();
  const refused: (readonly [Reason, number])[] = [];
  const admission = new AdmissionControl({
    posture: { level, epoch: 1n },
    accord: ACCORD.accord,
    clock,
    limits: { ...LIMITS, ...limits },
    descriptors,
    onRefused: (reason, count) => refused.push([reason, count]),
  });
  return { admission, clock, refused };
}

describe('descriptors', () => {
  it('of a crowd that asked and stays: none is left for more of it, and a share for peers of the mesh', async () => {
    const { admission, refused, clock } = control({}, 5, new Descriptors(10));
    const crowd = Array.from({ length: 10 }, () => admission.meet(STRANGER));
    for (const visit of crowd) visit?.asked();
    expect(crowd.filter((visit) => visit !== undefined)).toHaveLength(8);
    expect([admission.meet(STRANGER), admission.meet(PEER)].map((visit) => visit !== undefined)).toEqual([false, true]);
    crowd[0]?.[Symbol.dispose]();
    crowd[0]?.[Symbol.dispose]();
    const after = [admission.meet(STRANGER), admission.meet(STRANGER)];
    expect(after.map((visit) => visit !== undefined)).toEqual([false, false]);
    await clock.advance(1_000);
    expect(refused.at(-1)?.[0]).toBe('OVERLOADED');
  });
});

describe('admission', () => {
  it('refuses beyond the pending limit, until one is through', () => {
    const { admission } = control({ handshakeBudget: { ...LIMITS.handshakeBudget, meshPercent: 0 } });
    const pending = [0, 1, 2].map(() => admission.begin(STRANGER));
    expect(admission.refuses(STRANGER)).toBe('OVERLOADED');
    pending[0]?.[Symbol.dispose]();
    pending[0]?.[Symbol.dispose]();
    expect([admission.pending, admission.refuses(STRANGER)]).toEqual([2, undefined]);
  });

  it('refuses a network beyond its rate, and no other', () => {
    const { admission } = control();
    const refusals = Array.from({ length: 7 }, (_, i) => admission.refuses(`203.0.113.${i}`));
    expect(refusals).toEqual([undefined, undefined, undefined, undefined, undefined, 'RATE_LIMITED', 'RATE_LIMITED']);
    expect(admission.refuses('203.0.112.1')).toBeUndefined();
  });

  it('refuses everybody at lockdown and when it is going down', () => {
    const { admission } = control({}, 1);
    expect(admission.refuses(STRANGER)).toBe('POSTURE_ISOLATED');
    admission.close();
    expect(admission.refuses(STRANGER)).toBe('SHUTTING_DOWN');
  });

  it('tells what it turned away by reason and number, once a second', async () => {
    const { admission, clock, refused } = control({}, 1);
    for (let i = 0; i < 1_000; i++) admission.refuses(STRANGER);
    admission.close();
    admission.refuses(STRANGER);
    expect(refused).toEqual([]);
    await clock.advance(1_000);
    expect(refused).toEqual([
      ['POSTURE_ISOLATED', 1_000],
      ['SHUTTING_DOWN', 1],
    ]);
    await clock.advance(10_000);
    expect(refused).toHaveLength(2);
  });
});

describe('the share of the mesh', () => {
  it('attack: strangers that hold every place of theirs leave one for a peer', () => {
    const { admission } = control();
    const strangers = [0, 1].map(() => admission.begin(STRANGER));
    expect(admission.refuses(STRANGER)).toBe('OVERLOADED');
    expect(admission.refuses(PEER)).toBeUndefined();
    using _peer = admission.begin(PEER);
    expect(admission.refuses('198.51.100.2')).toBe('OVERLOADED');
    for (const pending of strangers) pending[Symbol.dispose]();
  });

  it('attack: somebody in the network of a peer does not use up its rate', () => {
    const { admission } = control({ handshakeBudget: { ...LIMITS.handshakeBudget, meshSources: [PEER] } });
    for (let i = 2; i < 20; i++) admission.refuses(`198.51.100.${i}`);
    expect(admission.refuses('198.51.100.99')).toBe('RATE_LIMITED');
    expect(admission.refuses(PEER)).toBeUndefined();
  });

  it('is of networks that are configured and addresses that are learnt, however written, and not for ever', async () => {
    const { admission, clock } = control();
    using _first = admission.begin(STRANGER);
    using _second = admission.begin(STRANGER);
    const isPeer = (address: string): boolean => admission.refuses(address) === undefined;
    expect(['198.51.100.77', '2001:db8:0:0::7', '2001:db8::8', '192.0.2.5'].map(isPeer)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    admission.learn('192.0.2.5');
    admission.learn('2001:db8:0::8');
    expect(['192.0.2.5', '2001:db8::8', '192.0.2.6'].map(isPeer)).toEqual([true, true, false]);
    await clock.advance(24 * 3_600_000);
    expect(isPeer('192.0.2.5')).toBe(false);
  });
});

describe('connections that say nothing', () => {
  it('attack: thousands from one network leave places for others, and thousands from everywhere for the mesh', () => {
    const { admission } = control();
    const from = (address: string): Disposable | undefined => admission.meet(address);
    const places = Array.from({ length: 64 }, () => from(STRANGER));
    expect(places).not.toContain(undefined);
    expect(from('203.0.113.99')).toBeUndefined();
    expect(from('203.0.112.1')).toBeDefined();
    for (let i = 0; i < 5_000; i++) from(`10.${i >> 8}.${i & 255}.1`);
    expect(from('192.0.2.1')).toBeUndefined();
    expect(from(PEER)).toBeDefined();
    places[0]?.[Symbol.dispose]();
    places[0]?.[Symbol.dispose]();
    expect([from(STRANGER), from(STRANGER)].map((place) => place !== undefined)).toEqual([true, false]);
  });
});

describe('token buckets', () => {
  it('refill with time, up to the burst', async () => {
    const own = new SimulatedClock();
    const buckets = new TokenBuckets(own, { perSecond: 2, burst: 3 });
    const take = (): number => [1, 2, 3, 4, 5].filter(() => buckets.take('203.0.113.1')).length;
    expect(take()).toBe(3);
    await own.advance(1_000);
    expect(take()).toBe(2);
    await own.advance(60_000);
    expect(take()).toBe(3);
  });

  it.each([
    ['one IPv4 /24', '203.0.113.1', '203.0.113.254'],
    ['IPv4 written as mapped IPv6', '203.0.113.1', '::ffff:203.0.113.9'],
    ['one IPv6 /56', '2001:db8:0:1200::1', '2001:db8:0:12ff::2'],
  ])('attack: %s is one network', (_, first, second) => {
    const buckets = new TokenBuckets(new SimulatedClock(), { perSecond: 1, burst: 1 });
    expect([buckets.take(first), buckets.take(second)]).toEqual([true, false]);
  });
});

describe('attack: 10,000 half-open handshakes', () => {
  let sites: MemorySites;
  afterEach(() => sites[Symbol.asyncDispose]());

  it('stay within the strangers’ places, cost no session, and are gone after the handshake’s time; a peer is served meanwhile', async () => {
    sites = await MemorySites.create({
      limits: { pendingHandshakes: 64, handshakeBudget: { meshPercent: 25, meshSources: ['192.0.2.1'] } },
    });
    await sites.b.start();
    let turnedAway = 0;
    sites.b.gateway.terminators.onEvent((event) => {
      if (event.kind === 'turned-away') turnedAway += event.count;
    });
    const { signal } = new AbortController();
    const attempts = Array.from({ length: 10_000 }, (_, i) =>
      sites.internet
        .host(`10.${(i >> 8) & 255}.${i & 255}.1`)
        .dial({ host: '192.0.2.2', port: 7843 }, { timeoutMs: 1, signal })
        .then(
          () => 'let in',
          () => 'turned away',
        ),
    );
    const outcomes = await Promise.all(attempts);
    expect(outcomes.filter((outcome) => outcome === 'let in')).toHaveLength(48);
    expect(sites.b.gateway.terminator.admission.pending).toBe(48);
    await sites.a.start();
    await sites.meet();
    expect(sites.b.gateway.terminator.admission.pending).toBe(48);
    await sites.clock.advance(10_000);
    expect(sites.b.gateway.terminator.admission.pending).toBe(0);
    expect(sites.b.log.filter(({ fields }) => fields.reason === 'HANDSHAKE_TIMEOUT')).toHaveLength(48);
    expect(sites.b.log.find(({ message }) => message === 'connections turned away')?.fields).toEqual({
      reason: 'OVERLOADED',
      count: 9_952,
    });
    expect(turnedAway).toBe(9_952);
    expect(sites.internet.connections).toBe(1);
  });
});
