/** Keys that are the same on every run, so that a seed gives the same search. They guard nothing. */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import {
  authorityProfile,
  type CertificateProfile,
  type CertifiedKey,
  issueCertificate,
  leafProfile,
} from '../../certs-dev/x509.ts';
import { parseX509Bundle, type TrustBundles } from '../../src/identity/bundles.ts';
import { der } from '../formats/der.ts';
import { fill } from './examples.ts';

export const NOW = Date.UTC(2026, 10, 21, 12);
export const DOMAIN = 'site-a.test';
export const ID = `spiffe://${DOMAIN}/gateway`;
const HOUR = 3_600_000;
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

export function ed25519(number: number): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, fill(number)]), format: 'der', type: 'pkcs8' });
}

export const authorityKey = ed25519(1);
export const intermediateKey = ed25519(2);
export const leafKey = ed25519(3);

const authority = {
  privateKey: authorityKey,
  subject: 'authority',
};
export const authorityCertificate = certificate(
  { ...authorityProfile(DOMAIN, NOW - HOUR, NOW + HOUR), subject: authority.subject },
  authorityKey,
  authority,
);

export const bundles: TrustBundles = {
  x509: new Map([[DOMAIN, parseX509Bundle(DOMAIN, authorityCertificate, NOW)]]),
  jwt: new Map(),
};

export function leaf(
  key: KeyObject,
  shape: Partial<CertificateProfile> = {},
  issuer: Pick<CertifiedKey, 'privateKey' | 'subject'> = authority,
): Uint8Array {
  return certificate({ ...leafProfile(ID, NOW - HOUR, NOW + HOUR), ...shape }, key, issuer);
}

export function intermediate(shape: Partial<CertificateProfile> = {}): Uint8Array {
  const profile = { ...authorityProfile(DOMAIN, NOW - HOUR, NOW + HOUR), subject: 'intermediate', ...shape };
  return certificate(profile, intermediateKey, authority);
}

/** Below the intermediate. */
export function lowerLeaf(): Uint8Array {
  return leaf(leafKey, {}, { privateKey: intermediateKey, subject: 'intermediate' });
}

/** A certificate with its signature made anew by `key`; undefined when the bytes are not built like one. */
export function resigned(bytes: Uint8Array, key: KeyObject): Uint8Array | undefined {
  const [whole, ...more] = der.decode(bytes) ?? [];
  if (whole === undefined || more.length > 0 || whole.body instanceof Uint8Array) return undefined;
  const [signed, algorithm, signature] = whole.body;
  if (signed === undefined || algorithm === undefined || signature === undefined) return undefined;
  const made = sign(null, der.encode([signed]), key);
  signature.body = Buffer.concat([Uint8Array.of(0), made]);
  return der.encode([whole]);
}

export function publicKey(key: KeyObject): KeyObject {
  return createPublicKey(key);
}

/** With the same serial number every time. */
function certificate(
  profile: CertificateProfile,
  key: KeyObject,
  issuer: Pick<CertifiedKey, 'privateKey' | 'subject'>,
): Uint8Array {
  const [whole] = der.decode(issueCertificate(profile, key, issuer)) ?? [];
  const [signed] = whole !== undefined && Array.isArray(whole.body) ? whole.body : [];
  const serial = signed !== undefined && Array.isArray(signed.body) ? signed.body[1] : undefined;
  if (whole === undefined || serial === undefined) throw new Error('a certificate without a serial number');
  serial.body = fill(0x42, 16);
  return resigned(der.encode([whole]), issuer.privateKey) ?? new Uint8Array();
}
