import { join } from 'node:path';
import { KeyUsageFlags } from '@peculiar/asn1-x509';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Entry, federate, hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { TemporaryDomains } from '../../certs-dev/testing.ts';
import { reasonOf } from '../../protocol/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock } from '../../src/base/clock.ts';
import {
  openIdentitySource,
  parseJwtBundle,
  parseX509Bundle,
  SpireSatVerifier,
  type TrustBundles,
  verifyEvidenceSignature,
  verifySvid,
} from '../../src/identity/index.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildGoSpiffe, type GoCase, GoSpiffe, type Verdict } from './driver.ts';

describeWith(['go'], 'with go-spiffe', () => {
  let go: GoSpiffe;
  let domains: TemporaryDomains;
  let domain: TrustDomain;
  let entry: Entry;

  beforeAll(async () => {
    go = new GoSpiffe(await buildGoSpiffe());
    domains = await TemporaryDomains.create(systemClock);
    domain = await domains.start('a.test');
    entry = await domain.register({ path: '/web', tier: 'master', scopes: ['net'] });
    federate(domain, await domains.start('b.test'));
  }, BUILD_MS);

  afterAll(async () => {
    await go[Symbol.asyncDispose]();
    await domains[Symbol.asyncDispose]();
  });

  describe('its Workload API client', () => {
    test('gets from certs-dev what its verifiers accept', async () => {
      const answer = await go.ask({ op: 'fetch', socket: entry.socketPath, audience: 'spiffe://b.test/gw#bound' });
      const accepted = { ok: true, id: entry.spiffeId };
      expect(answer).toMatchObject({
        id: entry.spiffeId,
        x509: accepted,
        x509Domains: ['a.test', 'b.test'],
        jwt: accepted,
        jwtDomains: ['a.test', 'b.test'],
        validated: accepted,
        claims: { sub: entry.spiffeId, tier: 'master', scopes: ['net'] },
      });
    });

    test('sees rotations of the SVID and of the authorities', async () => {
      type Update = { serial: string; x509: Verdict };
      const first = await go.ask<Update>({ op: 'watch', socket: entry.socketPath, updates: 3 });
      domain.rotate();
      const second = await go.next<Update>();
      domain.rotateAuthorities({ forget: true });
      const third = await go.next<Update>();
      expect(new Set([first.serial, second.serial, third.serial]).size).toBe(3);
      expect([first, second, third].map(({ x509 }) => x509.ok)).toEqual([true, true, true]);
    });

    test('is told that an unregistered caller has no identity', async () => {
      const request = { op: 'watch', socket: domain.agentSocket, updates: 1 };
      await expect(go.ask(request)).rejects.toThrow('PermissionDenied');
    });
  });

  test('our client fetches from a Workload API served by Go', async () => {
    const socketPath = join(domains.directory, 'go.sock');
    const { id } = await go.ask<{ id: string }>({ op: 'serve', socket: socketPath });
    await using source = openIdentitySource({ socketPath, clock: systemClock, random: Math.random });
    const patience = AbortSignal.timeout(20_000);
    await source.ready(patience);
    const identity = source.current();
    expect([...source.bundles.x509.keys()].sort()).toEqual(['go.test', 'other.test']);

    const svid = verifySvid(identity.chain, source.bundles, systemClock.now());
    expect(svid.spiffeId).toBe(id);
    const message = Buffer.from('transcript');
    verifyEvidenceSignature(svid, message, identity.sign(message));

    const audiences = { plain: 'spiffe://a.test/gw', bound: 'spiffe://a.test/gw#bound' };
    const token = await source.fetchSat(audiences.bound, patience);
    const verifier = new SpireSatVerifier({ source });
    const request = { token, subject: identity.spiffeId, audiences, fresh: true, now: systemClock.now() };
    expect(await verifier.verify(request)).toMatchObject({ subject: id, bound: true });
    await expect(source.validateSat(token, 'another', patience)).rejects.toThrow('SAT_INVALID');
  });

  test('chains made in Go: what go-spiffe refuses we refuse, what it accepts we accept but for the stricter rules', async () => {
    const cases = await go.ask<readonly GoCase[]>({ op: 'makeX509' });
    const seen = cases.map(({ name, chain, bundle, verdict }) => [
      name,
      verdict.ok,
      judgeChain('go.test', chain ?? [], bundle),
    ]);
    expect(seen).toEqual(cases.map(({ name }) => [name, !name.startsWith('bad'), name.startsWith('good')]));
    expect(cases.length).toBeGreaterThan(30);
  });

  test('tokens made in Go: the same', async () => {
    const cases = await go.ask<readonly GoCase[]>({ op: 'makeJwt', audience: 'spiffe://a.test/gw' });
    const seen: unknown[] = [];
    for (const { name, token = '', bundle, verdict } of cases)
      seen.push([name, verdict.ok, await judgeToken(token, bundle)]);
    expect(seen).toEqual(cases.map(({ name }) => [name, !name.startsWith('bad'), name.startsWith('good')]));
    expect(cases.length).toBeGreaterThan(20);
  });

  test('hostile chains of certs-dev: go-spiffe accepts none that its rules cover, and we accept none', async () => {
    const signs = KeyUsageFlags.digitalSignature;
    const shapes = {
      'two URIs': { uris: ['spiffe://a.test/x', 'spiffe://a.test/y'] },
      'no path': { uris: ['spiffe://a.test'] },
      'an authority': { ca: true },
      'cert sign': { keyUsage: signs | KeyUsageFlags.keyCertSign },
      'CRL sign': { keyUsage: signs | KeyUsageFlags.cRLSign },
      expired: { notAfter: systemClock.now() - 1000 },
      'unknown critical extension': { extra: [hostile.unknownCriticalExtension()] },
    };
    const chains = Object.values(shapes).map((shape) => hostile.issueShaped(domain, systemClock, '/x', shape).chain);
    chains.push(hostile.impersonate(domain, systemClock, '/x').chain);
    chains.push(hostile.corruptSignature(domain.authority.issueSvid('spiffe://a.test/x', 60_000)).chain);
    const bundle = Buffer.from(domain.authority.x509Bundle).toString('base64');
    const accepted: string[] = [];
    for (const [at, chain] of chains.entries()) {
      const encoded = chain.map((der) => Buffer.from(der).toString('base64'));
      const verdict = await go.ask<Verdict>({ op: 'verifyX509', trustDomain: 'a.test', chain: encoded, bundle });
      if (verdict.ok) accepted.push(Object.keys(shapes)[at] ?? 'unnamed');
      expect(judgeChain('a.test', encoded, bundle)).toBe(false);
    }
    // go-spiffe leaves the path of a leaf's ID to the caller; the specification (§5.2) does not.
    expect(accepted).toEqual(['no path']);
  });

  test('SVIDs and tokens of certs-dev are accepted by both, intermediate included', async () => {
    const bundle = Buffer.from(domain.authority.x509Bundle).toString('base64');
    const through = hostile.issueBelow(
      hostile.issueIntermediate(domain, systemClock),
      systemClock,
      'spiffe://a.test/deep',
    );
    for (const chain of [entry.identity.x509().chain, through.chain]) {
      const encoded = chain.map((der) => Buffer.from(der).toString('base64'));
      expect(await go.ask({ op: 'verifyX509', trustDomain: 'a.test', chain: encoded, bundle })).toMatchObject({
        ok: true,
      });
      expect(judgeChain('a.test', encoded, bundle)).toBe(true);
    }
    const request = { op: 'verifyJwt', trustDomain: 'a.test', audience: 'x', token: entry.identity.jwt(['x']) };
    const jwks = Buffer.from(domain.authority.jwtBundle).toString('base64');
    expect(await go.ask({ ...request, bundle: jwks })).toEqual({ ok: true, id: entry.spiffeId });
    expect(await go.ask({ ...request, bundle: jwks, audience: 'y' })).toMatchObject({ ok: false });
  });
});

/** Whether our verifier accepts the chain; a refusal that is not one of ours fails the test. */
function judgeChain(trustDomain: string, chain: readonly string[], bundle: string): boolean {
  const now = systemClock.now();
  const authorities = parseX509Bundle(trustDomain, Buffer.from(bundle, 'base64'), now);
  const bundles: TrustBundles = { x509: new Map([[trustDomain, authorities]]), jwt: new Map() };
  const ders = chain.map((text) => Buffer.from(text, 'base64'));
  return accepts(() => void verifySvid(ders, bundles, now));
}

async function judgeToken(token: string, bundle: string): Promise<boolean> {
  const now = systemClock.now();
  const jwt = new Map([['go.test', parseJwtBundle('go.test', Buffer.from(bundle, 'base64'), now)]]);
  const source = { bundles: { x509: new Map(), jwt }, validateSat: () => Promise.reject(new Error('not asked here')) };
  const audiences = { plain: 'spiffe://a.test/gw', bound: 'spiffe://a.test/gw#bound' };
  const request = { token, subject: requireId('spiffe://go.test/workload'), audiences, fresh: false, now };
  const outcome = await new SpireSatVerifier({ source }).verify(request).catch((error: unknown) => error);
  return accepts(() => {
    if (outcome instanceof Error) throw outcome;
  });
}

function accepts(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (error) {
    expect(reasonOf(error)).not.toBe('INTERNAL');
    return false;
  }
}

function requireId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(text);
  return id;
}
