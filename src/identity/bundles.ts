import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { isTrustDomain } from '../../protocol/identity/spiffe-id.ts';
import { type Certificate, type KeyType, keyTypeOf, parseCertificate } from './certificate.ts';
import { concatenatedElements } from './der.ts';
import { parseUniqueJson } from './unique-json.ts';

/** What vouches for the X.509-SVIDs of one trust domain, and for no other's. */
export interface X509Bundle {
  readonly trustDomain: string;
  readonly authorities: readonly Certificate[];
  /** Milliseconds since the epoch at which this content was received. */
  readonly fetchedAt: number;
  /** Equal for equal contents: what was verified under one digest holds under the same one. */
  readonly digest: string;
}

/** What vouches for the JWT-SVIDs of one trust domain. */
export interface JwtBundle {
  readonly trustDomain: string;
  /** By key id. */
  readonly authorities: ReadonlyMap<string, JwtAuthority>;
  readonly fetchedAt: number;
  readonly digest: string;
}

export interface JwtAuthority {
  /** The only JWS algorithm the key is for, when its issuer says so. */
  readonly algorithm: string | undefined;
  readonly type: KeyType;
  readonly object: KeyObject;
}

/** The bundles at hand, by the name of the trust domain; an immutable value that is replaced as a whole. */
export interface TrustBundles {
  readonly x509: ReadonlyMap<string, X509Bundle>;
  readonly jwt: ReadonlyMap<string, JwtBundle>;
}

export const NO_BUNDLES: TrustBundles = { x509: new Map(), jwt: new Map() };

/** From concatenated DER certificates. Authorities of kinds we do not verify with are left out. Throws SVID_MALFORMED. */
export function parseX509Bundle(trustDomain: string, der: Uint8Array, fetchedAt: number): X509Bundle {
  requireBundleOf(trustDomain, der);
  const authorities = concatenatedElements(der, MAX_AUTHORITIES).flatMap(importAuthority);
  return { trustDomain, authorities, fetchedAt, digest: sha256(der) };
}

/** From a JWK set in JSON (RFC 7517 §5). Keys of kinds we do not verify with are left out. Throws SAT_INVALID. */
export function parseJwtBundle(trustDomain: string, json: Uint8Array, fetchedAt: number): JwtBundle {
  requireBundleOf(trustDomain, json);
  const set = parseUniqueJson(Buffer.from(json).toString('utf8'));
  const keys = isRecord(set) ? set.keys : undefined;
  if (!Array.isArray(keys) || keys.length > MAX_AUTHORITIES) throw badKeySet(trustDomain);
  const authorities = new Map<string, JwtAuthority>();
  for (const jwk of keys) {
    if (!isRecord(jwk) || jwk.use === 'x509-svid') continue;
    if (typeof jwk.kid !== 'string' || jwk.kid === '' || authorities.has(jwk.kid)) throw badKeySet(trustDomain);
    const authority = importJwk(jwk);
    if (authority !== undefined) authorities.set(jwk.kid, authority);
  }
  return { trustDomain, authorities, fetchedAt, digest: sha256(json) };
}

function importAuthority(der: Uint8Array): readonly Certificate[] {
  try {
    return [parseCertificate(der)];
  } catch {
    return [];
  }
}

/**
 * A key of a JWK set, or undefined when it is none that may verify JWT-SVIDs. Public keys only: one of symmetric kind
 * would let anybody who reads the bundle sign tokens. `use` and `key_ops` are kept to (RFC 7517 §4.2, §4.3).
 */
export function importJwk(jwk: Readonly<Record<string, unknown>>): JwtAuthority | undefined {
  const { use, alg, key_ops: operations } = jwk;
  if (use !== undefined && use !== 'sig' && use !== 'jwt-svid') return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return undefined;
  if (alg !== undefined && typeof alg !== 'string') return undefined;
  try {
    const object = createPublicKey({ key: { ...jwk }, format: 'jwk' });
    const type = keyTypeOf(object);
    return type === undefined ? undefined : { type, object, algorithm: alg };
  } catch {
    return undefined;
  }
}

const MAX_BUNDLE_BYTES = 512 * 1024;
const MAX_AUTHORITIES = 64;

function requireBundleOf(trustDomain: string, content: Uint8Array): void {
  if (!isTrustDomain(trustDomain)) throw new ShellstreamError('MALFORMED', 'a bundle of no trust domain');
  if (content.length > MAX_BUNDLE_BYTES) throw new ShellstreamError('MALFORMED', `a bundle of ${content.length} bytes`);
}

function badKeySet(trustDomain: string): ShellstreamError {
  return new ShellstreamError('SAT_INVALID', `the JWT bundle of ${trustDomain} is no JWK set`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
