import type { KeyObject } from 'node:crypto';
import { OctetString } from '@peculiar/asn1-schema';
import { Extension } from '@peculiar/asn1-x509';
import type { Clock } from '../src/base/clock.ts';
import type { IssuedSvid } from './authority.ts';
import { jwtSigningKey, signJwt } from './jwt.ts';
import type { TrustDomain } from './trust-domain.ts';
import {
  authorityProfile,
  type CertificateProfile,
  type CertifiedKey,
  issueAuthority,
  issueCertificate,
  leafProfile,
  newKey,
} from './x509.ts';

/**
 * Certificates and tokens that must be refused, for tests. Each names the attack; what the attacker controls is said
 * beside it. Nothing here is served on a socket.
 */

/** A certificate of any shape, signed by the domain's real authority: what a careless or taken-over CA would issue. */
export function issueShaped(
  domain: TrustDomain,
  clock: Clock,
  path: string,
  shape: Partial<CertificateProfile>,
  key: KeyObject = newKey(),
): IssuedSvid {
  const spiffeId = `spiffe://${domain.name}${path}`;
  const now = clock.now();
  const profile = { ...leafProfile(spiffeId, now - 10_000, now + 3600_000), ...shape };
  const certificate = issueCertificate(profile, key, domain.authority.x509);
  return { spiffeId, chain: [certificate], privateKey: key, expiresAt: profile.notAfter };
}

/** An intermediate authority of any shape, below the domain's or another one. */
export function issueIntermediate(
  domain: TrustDomain,
  clock: Clock,
  shape: Partial<CertificateProfile> = {},
  issuer: CertifiedKey = domain.authority.x509,
): CertifiedKey {
  const now = clock.now();
  const profile = { ...authorityProfile(domain.name, now - 10_000, now + 3600_000), ...shape };
  const privateKey = newKey();
  const certificate = issueCertificate(profile, privateKey, issuer);
  return { privateKey, certificate, subject: profile.subject };
}

/** A leaf of any shape below any authority. */
export function issueBelow(
  issuer: CertifiedKey,
  clock: Clock,
  spiffeId: string,
  shape: Partial<CertificateProfile> = {},
): IssuedSvid {
  const now = clock.now();
  const privateKey = newKey();
  const profile = { ...leafProfile(spiffeId, now - 10_000, now + 3600_000), ...shape };
  const chain = [issueCertificate(profile, privateKey, issuer), issuer.certificate];
  return { spiffeId, chain, privateKey, expiresAt: profile.notAfter };
}

/** An SVID of the domain's names by somebody else's authority: the attacker has a CA, not the domain's. */
export function impersonate(domain: TrustDomain, clock: Clock, path: string): IssuedSvid {
  const now = clock.now();
  const forger = issueAuthority({
    ...authorityProfile(domain.name, now - 10_000, now + 3600_000),
    subject: domain.authority.x509.subject,
  });
  const issued = issueBelow(forger, clock, `spiffe://${domain.name}${path}`);
  return { ...issued, chain: issued.chain.slice(0, 1) };
}

/** One bit of the last byte of the leaf's signature turned. */
export function corruptSignature(svid: IssuedSvid): IssuedSvid {
  const [leaf = new Uint8Array(), ...rest] = svid.chain;
  const bytes = Uint8Array.from(leaf);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return { ...svid, chain: [bytes, ...rest] };
}

/** An extension nobody knows, marked critical. */
export function unknownCriticalExtension(): Extension {
  const extnValue = new OctetString(new Uint8Array([5, 0]).buffer);
  return new Extension({ extnID: '2.25.1397246808.99', critical: true, extnValue });
}

/** Changes to an otherwise good SAT. An undefined claim is left out. */
export interface SatShape {
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  /** Sign with a key that is in no bundle, under the real key id. */
  readonly otherSigner?: boolean;
}

/** A SAT for `audience` signed by the domain's JWT key, bent as `shape` says: foreign tier, expired, two audiences … */
export function mintShaped(
  domain: TrustDomain,
  clock: Clock,
  path: string,
  audience: string,
  shape: SatShape = {},
): string {
  const seconds = Math.floor(clock.now() / 1000);
  const usual = { aud: [audience], exp: seconds + 300, iat: seconds, sub: `spiffe://${domain.name}${path}` };
  const { jwt } = domain.authority;
  const key = shape.otherSigner === true ? { ...jwtSigningKey(newKey()), keyId: jwt.keyId } : jwt;
  return signJwt(key, { ...usual, ...shape.claims }, shape.header);
}

/**
 * The same ECDSA token with the other of its two valid signatures (s becomes n − s): a new string for the same claims,
 * which a list of seen or revoked tokens by their whole text would not recognise.
 */
export function malleate(token: string): string {
  const [header, payload, signature = ''] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`);
  const other = Buffer.from((P256_ORDER - s).toString(16).padStart(64, '0'), 'hex');
  return `${header}.${payload}.${Buffer.concat([bytes.subarray(0, 32), other]).toString('base64url')}`;
}

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
