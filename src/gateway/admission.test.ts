/** Who may start a handshake at all: what strangers can make a gateway spend is bounded before any cryptography. */
import { afterEach, describe, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { AdmissionControl } from './admission.ts';
import { TokenBuckets } from './token-buckets.ts';

const clock = new SimulatedClock();
const posture: { level: PostureLevel; epoch: bigint } = { level: 5, epoch: 1n };

describe('admission', () => {
  const limits = { pendingHandshakes: 3, perPrefixRate: { perSecond: 10, burst: 5 } };

  it('refuses beyond the pending limit, until one is through', () => {
    const admission = new AdmissionControl(posture, ACCORD.accord, clock, limits);
    const pending = [0, 1, 2].map(() => admission.begin());
    expect(admission.refuses('203.0.113.1')).toBe('OVERLOADED');
    pending[0]?.[Symbol.dispose]();
    pending[0]?.[Symbol.dispose]();
    expect([admission.pending, admission.refuses('203.0.113.1')]).toEqual([2, undefined]);
  });

  it('refuses a network beyond its rate, and no other', () => {
    const admission = new AdmissionControl(posture, ACCORD.accord, clock, limits);
    const refusals = Array.from({ length: 7 }, (_, i) => admission.refuses(`203.0.113.${i}`));
    expect(refusals).toEqual([undefined, undefined, undefined, undefined, undefined, 'RATE_LIMITED', 'RATE_LIMITED']);
    expect(admission.refuses('203.0.112.1')).toBeUndefined();
  });

  it('refuses everybody at lockdown and when it is going down', () => {
    const admission = new AdmissionControl({ level: 1, epoch: 1n }, ACCORD.accord, clock, limits);
    expect(admission.refuses('203.0.113.1')).toBe('POSTURE_ISOLATED');
    admission.close();
    expect(admission.refuses('203.0.113.1')).toBe('SHUTTING_DOWN');
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
    const buckets = new TokenBuckets(clock, { perSecond: 1, burst: 1 });
    expect([buckets.take(first), buckets.take(second)]).toEqual([true, false]);
  });
});

describe('attack: 10,000 half-open handshakes', () => {
  let sites: MemorySites;
  afterEach(() => sites[Symbol.asyncDispose]());

  it('stay within the pending limit, cost no session, and are gone after the handshake’s time', async () => {
    const limits = { pendingHandshakes: 64 };
    sites = await MemorySites.create({ limits });
    await sites.b.start();
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
    expect(outcomes.filter((outcome) => outcome === 'let in')).toHaveLength(64);
    expect(sites.b.gateway.terminator.admission.pending).toBe(64);
    await sites.clock.advance(10_000);
    expect(sites.b.gateway.terminator.admission.pending).toBe(0);
    expect(sites.b.log.filter(({ fields }) => fields.reason === 'HANDSHAKE_TIMEOUT')).toHaveLength(64);
    expect(sites.internet.connections).toBe(0);
    await sites.a.start();
    await sites.meet();
  });
});
