import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { OctetString } from '@peculiar/asn1-schema';
import {
  Extension,
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  KeyUsageFlags,
  Name,
  NameConstraints,
} from '@peculiar/asn1-x509';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { extension } from '../../certs-dev/x509.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseX509Bundle, type TrustBundles } from './bundles.ts';
import { verifySvid } from './x509-svid.ts';

const clock = new SteppedClock();
const YEAR = 365 * 24 * 3600 * 1000;
const HOUR = 3600 * 1000;
let domains: TemporaryDomains;
let domain: TrustDomain;
let other: TrustDomain;

beforeAll(async () => {
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
  other = await domains.start('b.test');
});
afterAll(() => domains[Symbol.asyncDispose]());

describe('go-spiffe’s vectors', () => {
  test.each([
    ['good-leaf-and-intermediate', '2020-03-24T14:30:00Z', 'accepted'],
    ['good-leaf-only', '2021-01-01T00:00:00Z', 'accepted'],
    ['corrupt-cert', '2021-01-01T00:00:00Z', 'strict-der'],
    ['wrong-intermediate-no-ca', '2021-01-01T00:00:00Z', 'intermediate-is-authority'],
    ['wrong-intermediate-no-key-cert-sign', '2021-01-01T00:00:00Z', 'intermediate-cert-sign'],
    ['wrong-leaf-ca-true', '2021-01-01T00:00:00Z', 'leaf-is-no-authority'],
    ['wrong-leaf-cert-sign', '2021-01-01T00:00:00Z', 'leaf-no-cert-sign'],
    ['wrong-leaf-crl-sign', '2021-01-01T00:00:00Z', 'leaf-no-crl-sign'],
    ['wrong-leaf-empty-id', '2021-01-01T00:00:00Z', 'leaf-one-spiffe-id'],
    ['wrong-leaf-no-digital-signature', '2021-01-01T00:00:00Z', 'leaf-digital-signature'],
  ])('%s at %s: %s', (name, time, expected) => {
    const chain = readPem(name);
    // The last certificate of each file is the only authority there is for it.
    const bundles = bundlesOf(['example.org', Buffer.from(chain.at(-1) ?? [])]);
    expect(verdict(chain, bundles, Date.parse(time))).toBe(expected);
  });

  test('good-leaf-and-intermediate is refused after it expired', () => {
    const chain = readPem('good-leaf-and-intermediate');
    const bundles = bundlesOf(['example.org', Buffer.from(chain.at(-1) ?? [])]);
    expect(verdict(chain, bundles, Date.parse('2020-03-24T15:07:41Z'))).toBe('validity');
  });
});

describe('a chain of the domain itself is accepted', () => {
  test('as one leaf, which expires when it says', () => {
    const svid = domain.authority.issueSvid('spiffe://a.test/web', HOUR);
    const verified = verifySvid(svid.chain, own(), clock.now());
    expect(verified).toMatchObject({
      spiffeId: 'spiffe://a.test/web',
      trustDomain: 'a.test',
      expiresAt: svid.expiresAt,
    });
    expect(verified.expiresAt).toBe(Date.parse(new X509Certificate(svid.chain[0] ?? '').validTo));
  });

  test('through an intermediate, and expires with the shorter of the two', () => {
    const notAfter = clock.now() + HOUR / 2;
    const svid = hostile.issueBelow(
      hostile.issueIntermediate(domain, clock, { notAfter }),
      clock,
      'spiffe://a.test/web',
    );
    expect(verifySvid(svid.chain, own(), clock.now()).expiresAt).toBe(notAfter);
  });

  test.each([
    ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey],
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
    ['Ed25519', () => generateKeyPairSync('ed25519').privateKey],
  ])('with a key of %s', (type, generate) => {
    const svid = hostile.issueShaped(domain, clock, '/web', {}, generate());
    expect(verifySvid(svid.chain, own(), clock.now()).publicKey.type).toBe(type);
  });

  test('until the last moment of its validity and from the first', () => {
    const { chain, expiresAt } = domain.authority.issueSvid('spiffe://a.test/web', HOUR);
    expect(verdict(chain, own(), expiresAt)).toBe('accepted');
    expect(verdict(chain, own(), expiresAt + 1)).toBe('validity');
    expect(verdict(chain, own(), clock.now() - 10_000)).toBe('accepted');
    expect(verdict(chain, own(), clock.now() - 10_001)).toBe('validity');
  });
});

describe('a leaf is refused', () => {
  const seals = KeyUsageFlags.digitalSignature;
  test.each([
    [
      'with two URI names, of which each side would read another',
      'leaf-one-spiffe-id',
      { uris: ['spiffe://a.test/x', 'spiffe://a.test/y'] },
    ],
    ['with two equal URI names', 'leaf-one-spiffe-id', { uris: ['spiffe://a.test/x', 'spiffe://a.test/x'] }],
    ['without a URI name', 'leaf-one-spiffe-id', { uris: [] }],
    ['whose URI is no SPIFFE ID', 'leaf-one-spiffe-id', { uris: ['https://a.test/x'] }],
    ['whose SPIFFE ID has no path: the trust domain’s own', 'leaf-one-spiffe-id', { uris: ['spiffe://a.test'] }],
    ['whose SPIFFE ID hides a NUL', 'strict-der', { uris: ['spiffe://a.test/x\0.b.test'] }],
    ['whose SPIFFE ID has a parent segment', 'leaf-one-spiffe-id', { uris: ['spiffe://a.test/x/../owner'] }],
    ['that is an authority', 'leaf-is-no-authority', { ca: true }],
    ['that may sign certificates', 'leaf-no-cert-sign', { keyUsage: seals | KeyUsageFlags.keyCertSign }],
    ['that may sign revocation lists', 'leaf-no-crl-sign', { keyUsage: seals | KeyUsageFlags.cRLSign }],
    ['that may not sign', 'leaf-digital-signature', { keyUsage: KeyUsageFlags.keyAgreement }],
    ['that says nothing of its usage', 'leaf-digital-signature', { keyUsage: undefined }],
    ['meant for code signing only', 'leaf-authentication-purpose', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.3'] }],
    [
      'with a critical extension nobody knows',
      'critical-extensions-understood',
      { extra: [hostile.unknownCriticalExtension()] },
    ],
    ['that has expired', 'validity', { notBefore: clock.now() - 2 * HOUR, notAfter: clock.now() - 1000 }],
    ['that is not valid yet', 'validity', { notBefore: clock.now() + 1000 }],
    ['that ends before it begins', 'validity-order', { notBefore: clock.now(), notAfter: clock.now() - 5000 }],
    ['of more than 16 KiB', 'certificate-size', { dns: Array.from({ length: 60 }, () => 'x'.repeat(300)) }],
    ['with more names than 64', 'names-count', { dns: Array.from({ length: 65 }, (_, at) => `h${at}`) }],
  ] as const)('%s', (_attack, rule, shape) => {
    const { chain } = hostile.issueShaped(domain, clock, '/x', shape as Parameters<typeof hostile.issueShaped>[3]);
    expect(verdict(chain, own(), clock.now())).toBe(rule);
  });

  test.each([
    ['RSA of 1024 bits', () => generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey],
    ['P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey],
  ])('with a key of %s', (_kind, generate) => {
    expect(verdict(hostile.issueShaped(domain, clock, '/x', {}, generate()).chain, own(), clock.now())).toBe(
      'key-allowed',
    );
  });

  test('with an extension twice, where it counts which one is read', () => {
    const twice = extension('2.5.29.14', false, new GeneralName({ dNSName: 'x' }));
    expect(verdict(hostile.issueShaped(domain, clock, '/x', { extra: [twice] }).chain, own(), clock.now())).toBe(
      'extensions-unique',
    );
  });

  test('with a URI in constructed form, which other readers take for one', () => {
    const value = Buffer.concat([Buffer.from([0x30, 0x14, 0xa6, 0x12]), Buffer.from('spiffe://a.test/xy')]);
    const names = new Extension({
      extnID: id_ce_subjectAltName,
      critical: false,
      extnValue: new OctetString(new Uint8Array(value).buffer),
    });
    const { chain } = hostile.issueShaped(domain, clock, '/x', { uris: [], extra: [names] });
    expect(verdict(chain, own(), clock.now())).toBe('strict-der');
  });

  test('that names one signature algorithm in what is signed and another outside', () => {
    const [leaf = new Uint8Array()] = domain.authority.issueSvid('spiffe://a.test/x', HOUR).chain;
    const changed = Buffer.from(leaf);
    const ecdsaWithSha256 = Buffer.from('06082a8648ce3d040302', 'hex');
    changed[changed.lastIndexOf(ecdsaWithSha256) + ecdsaWithSha256.length - 1] = 3;
    expect(verdict([changed], own(), clock.now())).toBe('one-signature-algorithm');
  });

  test('with bytes behind it', () => {
    const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
    expect(verdict([Buffer.concat([chain[0] ?? new Uint8Array(), Buffer.from([0])])], own(), clock.now())).toBe(
      'strict-der',
    );
  });
});

describe('trust is refused', () => {
  test('when the authority has the domain’s name but not its key', () => {
    expect(verdict(hostile.impersonate(domain, clock, '/x').chain, own(), clock.now())).toBe('issued-by-an-authority');
  });

  test('when the signature was changed', () => {
    const broken = hostile.corruptSignature(domain.authority.issueSvid('spiffe://a.test/x', HOUR));
    expect(verdict(broken.chain, own(), clock.now())).toBe('issued-by-an-authority');
  });

  test('when a federated domain’s authority signs an identity of ours', () => {
    const { chain } = hostile.issueShaped(other, clock, '/x', { uris: ['spiffe://a.test/owner'] });
    expect(verdict(chain, both(), clock.now())).toBe('issued-by-an-authority');
  });

  test('when no bundle of the domain is at hand', () => {
    const { chain } = other.authority.issueSvid('spiffe://b.test/x', HOUR);
    expect(verdict(chain, own(), clock.now())).toBe('bundle-at-hand');
    expect(verdict(chain, both(), clock.now())).toBe('accepted');
  });

  test('when the bundle holds a certificate that is no authority and it signed the leaf', () => {
    const workload = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
    const [certificate = new Uint8Array()] = workload.chain;
    const issuer = { privateKey: workload.privateKey, certificate, subject: 'workload' };
    const [leaf = new Uint8Array()] = hostile.issueBelow(issuer, clock, 'spiffe://a.test/owner').chain;
    expect(verdict([leaf], bundlesOf(['a.test', certificate]), clock.now())).toBe('issued-by-an-authority');
  });

  test('when the authority has a critical extension nobody knows: it may limit what it signs', () => {
    const limited = hostile.issueIntermediate(domain, clock, { extra: [hostile.unknownCriticalExtension()] });
    const [leaf = new Uint8Array()] = hostile.issueBelow(limited, clock, 'spiffe://a.test/x').chain;
    expect(verdict([leaf], bundlesOf(['a.test', limited.certificate]), clock.now())).toBe('issued-by-an-authority');
  });

  test('when the leaf names another issuer than the one whose key signed it', () => {
    const [leaf = new Uint8Array()] = hostile.issueBelow(
      { ...domain.authority.x509, subject: 'another' },
      clock,
      'spiffe://a.test/x',
    ).chain;
    expect(verdict([leaf], own(), clock.now())).toBe('issued-by-an-authority');
  });

  test('when the authority itself has expired', () => {
    const later = clock.now() + YEAR;
    const { chain } = hostile.issueShaped(domain, clock, '/x', { notAfter: later + HOUR });
    expect(verdict(chain, own(), later)).toBe('authority-validity');
  });

  test('when a workload signs with its own certificate as if it were an authority', () => {
    const workload = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
    const issuer = {
      privateKey: workload.privateKey,
      certificate: workload.chain[0] ?? new Uint8Array(),
      subject: 'workload',
    };
    const forged = hostile.issueBelow(issuer, clock, 'spiffe://a.test/owner');
    expect(verdict(forged.chain, own(), clock.now())).toBe('intermediate-is-authority');
  });

  test.each([
    ['is no authority', 'intermediate-is-authority', { ca: false }],
    ['may not sign certificates', 'intermediate-cert-sign', { keyUsage: KeyUsageFlags.cRLSign }],
    ['says nothing of its usage', 'intermediate-cert-sign', { keyUsage: undefined }],
    ['is a workload’s identity too', 'intermediate-no-workload-id', { uris: ['spiffe://a.test/x'] }],
    ['has expired', 'validity', { notBefore: clock.now() - HOUR, notAfter: clock.now() - 1000 }],
    [
      'has a critical extension nobody knows',
      'critical-extensions-understood',
      { extra: [hostile.unknownCriticalExtension()] },
    ],
    ['may only sign for another host', 'name-constraints', { extra: [permittedUri('b.test')] }],
    ['constrains directory names, which we do not compare', 'name-constraints', { extra: [permittedDirectory()] }],
  ] as const)('when the intermediate %s', (_attack, rule, shape) => {
    const intermediate = hostile.issueIntermediate(
      domain,
      clock,
      shape as Parameters<typeof hostile.issueIntermediate>[2],
    );
    expect(verdict(hostile.issueBelow(intermediate, clock, 'spiffe://a.test/x').chain, own(), clock.now())).toBe(rule);
  });

  test('when an intermediate may have none below it but has one', () => {
    expect(verdict(threeLevels(0), own(), clock.now())).toBe('path-length');
    expect(verdict(threeLevels(1), own(), clock.now())).toBe('accepted');
  });

  test('when a link in the middle is broken, though the chain ends at a good authority', () => {
    const stranger =
      hostile.issueBelow(hostile.issueIntermediate(other, clock), clock, 'spiffe://a.test/x').chain[0] ??
      new Uint8Array();
    const intermediate = hostile.issueIntermediate(domain, clock).certificate;
    expect(verdict([stranger, intermediate], own(), clock.now())).toBe('issued-by-the-next');
  });

  test('before any key of a chain that no authority vouches for was used: large keys would burn our CPU', () => {
    const stranger = hostile.issueIntermediate(other, clock);
    const [leaf = new Uint8Array()] = domain.authority.issueSvid('spiffe://a.test/x', HOUR).chain;
    // Both the link and the anchor are missing; the anchor is what is missed first.
    expect(verdict([leaf, stranger.certificate], own(), clock.now())).toBe('issued-by-an-authority');
  });

  test('when certificates stand in another order', () => {
    const { chain } = hostile.issueBelow(hostile.issueIntermediate(domain, clock), clock, 'spiffe://a.test/x');
    expect(verdict(chain.toReversed(), own(), clock.now())).not.toBe('accepted');
  });

  test('when an unrelated authority is put behind a good leaf', () => {
    const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
    expect(verdict([...chain, other.authority.x509.certificate], both(), clock.now())).toBe('issued-by-an-authority');
  });

  test('for an empty chain and for one of nine', () => {
    const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
    expect(verdict([], own(), clock.now())).toBe('chain-length');
    expect(verdict(Array(9).fill(chain[0]), own(), clock.now())).toBe('chain-length');
  });
});

test('no change of one bit in a certificate is accepted as another identity or validity', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  const der = chain[0] ?? new Uint8Array();
  const verdicts = Array.from(der, (_byte, at) => {
    const changed = Uint8Array.from(der);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    return verdict([changed], own(), clock.now());
  });
  expect(verdicts).not.toContain('accepted');
  expect(verdicts).not.toContain('no refusal of ours');
});

/** The name of the rule that refuses the chain. */
function verdict(chain: readonly Uint8Array[], bundles: TrustBundles, now: number): string {
  try {
    verifySvid(chain, bundles, now);
    return 'accepted';
  } catch (error) {
    return error instanceof ShellstreamError ? String(error.fields.rule) : 'no refusal of ours';
  }
}

function threeLevels(pathLength: number): readonly Uint8Array[] {
  const upper = hostile.issueIntermediate(domain, clock, { pathLength });
  const lower = hostile.issueIntermediate(domain, clock, {}, upper);
  return [...hostile.issueBelow(lower, clock, 'spiffe://a.test/x').chain, upper.certificate];
}

function permittedUri(host: string): ReturnType<typeof extension> {
  const base = new GeneralName({ uniformResourceIdentifier: host });
  const permittedSubtrees = new GeneralSubtrees([new GeneralSubtree({ base })]);
  return extension(id_ce_nameConstraints, true, new NameConstraints({ permittedSubtrees }));
}

function permittedDirectory(): ReturnType<typeof extension> {
  const base = new GeneralName({ directoryName: new Name() });
  const permittedSubtrees = new GeneralSubtrees([new GeneralSubtree({ base })]);
  return extension(id_ce_nameConstraints, true, new NameConstraints({ permittedSubtrees }));
}

function own(): TrustBundles {
  return bundlesOf(['a.test', domain.authority.x509Bundle]);
}

function both(): TrustBundles {
  return bundlesOf(['a.test', domain.authority.x509Bundle], ['b.test', other.authority.x509Bundle]);
}

function bundlesOf(...entries: readonly (readonly [string, Uint8Array])[]): TrustBundles {
  return { x509: new Map(entries.map(([name, der]) => [name, bundleOrEmpty(name, der)])), jwt: new Map() };
}

function bundleOrEmpty(name: string, der: Uint8Array): ReturnType<typeof parseX509Bundle> {
  try {
    return parseX509Bundle(name, der, clock.now());
  } catch {
    return { trustDomain: name, authorities: [], fetchedAt: 0, digest: '' };
  }
}

function readPem(name: string): readonly Uint8Array[] {
  const file = new URL(`../../protocol/vectors/x509-svid/${name}.pem`, import.meta.url);
  const blocks = readFileSync(file, 'utf8').matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END/g);
  return Array.from(blocks, ([, base64 = '']) => Buffer.from(base64, 'base64'));
}
