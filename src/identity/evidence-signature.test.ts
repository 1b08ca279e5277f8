import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { parseX509Bundle } from './bundles.ts';
import { evidenceSigner, verifyEvidenceSignature } from './evidence-signature.ts';
import { type VerifiedSvid, verifySvid } from './x509-svid.ts';

const clock = new SteppedClock();
const message = Buffer.from('transcript');
let domains: TemporaryDomains;
let domain: TrustDomain;

beforeAll(async () => {
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
});
afterAll(() => domains[Symbol.asyncDispose]());

const KEYS: readonly (readonly [string, () => KeyObject])[] = [
  ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey],
  ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey],
  ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
  ['Ed25519', () => generateKeyPairSync('ed25519').privateKey],
];

describe.each(KEYS)('evidence signed with %s', (_type, generate) => {
  test('verifies, and neither for another message nor by another key', () => {
    const key = generate();
    const svid = svidOf(key);
    const signature = evidenceSigner(key)(message);
    verifyEvidenceSignature(svid, message, signature);
    expect(() => verifyEvidenceSignature(svid, Buffer.from('Transcript'), signature)).toThrow('SVID_SIGNATURE');
    expect(() => verifyEvidenceSignature(svidOf(generate()), message, signature)).toThrow('SVID_SIGNATURE');
  });

  test.each([0, 1, 64, 2000])('is refused when the signature is %i bytes of nothing', (length) => {
    expect(() => verifyEvidenceSignature(svidOf(generate()), message, new Uint8Array(length))).toThrow(
      'SVID_SIGNATURE',
    );
  });
});

test('the peer cannot choose the algorithm: PKCS #1 v1.5 by an RSA key and P1363 by an EC key are refused', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pkcs1 = sign('sha256', message, rsa);
  const p1363 = sign('sha256', message, { key: ec, dsaEncoding: 'ieee-p1363' });
  expect(() => verifyEvidenceSignature(svidOf(rsa), message, pkcs1)).toThrow('SVID_SIGNATURE');
  expect(() => verifyEvidenceSignature(svidOf(ec), message, p1363)).toThrow('SVID_SIGNATURE');
});

test('RSA-PSS has a salt of 32 bytes and no other', () => {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const withSalt = (saltLength: number): Uint8Array =>
    sign('sha256', message, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
  verifyEvidenceSignature(svidOf(key), message, withSalt(32));
  expect(() => verifyEvidenceSignature(svidOf(key), message, withSalt(20))).toThrow('SVID_SIGNATURE');
});

test('a key that no SVID may have signs nothing', () => {
  expect(() => evidenceSigner(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey)).toThrow(
    'SVID_MALFORMED',
  );
});

function svidOf(key: KeyObject): VerifiedSvid {
  const bundle = parseX509Bundle('a.test', domain.authority.x509Bundle, clock.now());
  const { chain } = hostile.issueShaped(domain, clock, '/x', {}, key);
  return verifySvid(chain, { x509: new Map([['a.test', bundle]]), jwt: new Map() }, clock.now());
}
