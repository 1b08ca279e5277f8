import { constants, verify } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId, pathOf, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { JwtAuthority } from './bundles.ts';
import type { KeyType } from './certificate.ts';
import { parseUniqueJson } from './unique-json.ts';

/** A JWT-SVID (SPIFFE JWT-SVID specification, RFC 7515 compact form) taken apart, its signature not yet checked. */
export interface ParsedJwtSvid {
  readonly keyId: string;
  readonly claims: JwtClaims;
  /** Whether `authority` signed this token, with the algorithm the header names and the key's type allows. */
  isSignedBy(authority: JwtAuthority): boolean;
  /** What is signed: header and payload as they were sent, ASCII. */
  readonly signingInput: Uint8Array;
}

/** Times are milliseconds since the epoch. `all` is every claim of the token. */
export interface JwtClaims {
  readonly subject: SpiffeId;
  readonly audience: string;
  readonly expiresAt: number;
  readonly issuedAt: number;
  readonly notBefore: number | undefined;
  readonly all: Readonly<Record<string, unknown>>;
}

/** Throws SAT_INVALID for anything that is not exactly one JWT-SVID for exactly one audience. */
export function parseJwtSvid(token: string): ParsedJwtSvid {
  const jws = parseJws(token);
  return { ...jws, claims: parseClaims(decodeJson(jws.payload)) };
}

/** A JWS in compact form whose header a JWT-SVID may have. Throws SAT_INVALID. */
export function parseJws(token: string): Omit<ParsedJwtSvid, 'claims'> & { readonly payload: Uint8Array } {
  if (token.length > MAX_TOKEN_LENGTH) throw invalid(`${token.length} characters`);
  const [header = '', payload = '', signature = '', ...more] = token.split('.');
  if (more.length > 0) throw invalid('not three parts');
  const { alg, kid, typ, crit } = requireRecord(decodeJson(decodeBase64Url(header)));
  const algorithm = typeof alg === 'string' ? ALGORITHMS.get(alg) : undefined;
  if (algorithm === undefined) throw invalid('an algorithm that is not allowed');
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE') throw invalid('a token of another type');
  // RFC 7515 §4.1.11: an extension that must be understood and is not refuses the token.
  if (crit !== undefined) throw invalid('critical header parameters');
  if (typeof kid !== 'string' || kid === '' || kid.length > MAX_KEY_ID) throw invalid('no key id');
  const signatureBytes = decodeBase64Url(signature);
  const signingInput = Buffer.from(`${header}.${payload}`, 'latin1');
  return {
    keyId: kid,
    payload: payload === '' ? new Uint8Array() : decodeBase64Url(payload),
    signingInput,
    isSignedBy: ({ type, object, algorithm: meant }) =>
      type === algorithm.key &&
      (meant === undefined || meant === alg) &&
      (algorithm.signatureBytes === undefined || signatureBytes.length === algorithm.signatureBytes) &&
      verify(algorithm.hash, signingInput, { key: object, ...algorithm.options }, signatureBytes),
  };
}

function parseClaims(value: unknown): JwtClaims {
  const all = requireRecord(value);
  const subject = typeof all.sub === 'string' ? parseSpiffeId(all.sub) : undefined;
  if (subject === undefined || pathOf(subject) === '') throw invalid('a subject that is no workload’s SPIFFE ID');
  // With several audiences each of them could present the token to the others.
  const audience: unknown = Array.isArray(all.aud) && all.aud.length === 1 ? all.aud[0] : all.aud;
  if (typeof audience !== 'string' || audience === '') throw invalid('not exactly one audience');
  return {
    subject,
    audience,
    expiresAt: milliseconds(all.exp),
    issuedAt: milliseconds(all.iat),
    notBefore: all.nbf === undefined ? undefined : milliseconds(all.nbf),
    all,
  };
}

/** A NumericDate (RFC 7519 §2) in milliseconds. */
function milliseconds(value: unknown): number {
  if (typeof value !== 'number' || value < 0 || value > MAX_SECONDS) throw invalid('a time that is none');
  return value * 1000;
}

function decodeJson(bytes: Uint8Array): unknown {
  try {
    return parseUniqueJson(UTF8.decode(bytes));
  } catch (cause) {
    throw new ShellstreamError('SAT_INVALID', 'a part that is no JSON object', { cause });
  }
}

/** Canonical base64url only: a second spelling of one token would be a second token id. */
function decodeBase64Url(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url');
  if (text === '' || bytes.toString('base64url') !== text) throw invalid('a part that is not canonical base64url');
  return bytes;
}

function requireRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('a part that is no JSON object');
  return value as Record<string, unknown>;
}

function invalid(detail: string): ShellstreamError {
  return new ShellstreamError('SAT_INVALID', detail);
}

const MAX_TOKEN_LENGTH = 8 * 1024;
const MAX_KEY_ID = 256;
/** The end of the year 9999. */
const MAX_SECONDS = 253_402_300_799;
const UTF8 = new TextDecoder('utf-8', { fatal: true });

interface JwsAlgorithm {
  readonly key: KeyType;
  readonly hash: string | null;
  /** Of fixed length, where the algorithm has one. */
  readonly signatureBytes?: number;
  readonly options: { readonly dsaEncoding?: 'ieee-p1363'; readonly padding?: number; readonly saltLength?: number };
}

const P1363 = { dsaEncoding: 'ieee-p1363' } as const;
const PKCS1 = { padding: constants.RSA_PKCS1_PADDING } as const;
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING } as const;

/** Asymmetric only: `none` and HMAC with a public key as the secret are the oldest attacks on JWTs. */
const ALGORITHMS: ReadonlyMap<string, JwsAlgorithm> = new Map<string, JwsAlgorithm>([
  ['ES256', { key: 'P-256', hash: 'sha256', signatureBytes: 64, options: P1363 }],
  ['ES384', { key: 'P-384', hash: 'sha384', signatureBytes: 96, options: P1363 }],
  ['RS256', { key: 'RSA', hash: 'sha256', options: PKCS1 }],
  ['RS384', { key: 'RSA', hash: 'sha384', options: PKCS1 }],
  ['RS512', { key: 'RSA', hash: 'sha512', options: PKCS1 }],
  ['PS256', { key: 'RSA', hash: 'sha256', options: { ...PSS, saltLength: 32 } }],
  ['PS384', { key: 'RSA', hash: 'sha384', options: { ...PSS, saltLength: 48 } }],
  ['PS512', { key: 'RSA', hash: 'sha512', options: { ...PSS, saltLength: 64 } }],
  ['EdDSA', { key: 'Ed25519', hash: null, signatureBytes: 64, options: {} }],
]);
