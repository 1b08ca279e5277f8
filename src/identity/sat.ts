import { createHash } from 'node:crypto';
import type { Tier } from '../../protocol/capability/model.ts';
import { isTier } from '../../protocol/capability/tier.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { MAX_SCOPE_LENGTH, MAX_SCOPES, SAT_CLAIMS } from '../../protocol/identity/claims.ts';
import { type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { JwtBundle } from './bundles.ts';
import { type JwtClaims, parseJwtSvid } from './jwt-svid.ts';
import { type ProvenToken, SatCache } from './sat-cache.ts';
import type { IdentitySource } from './source.ts';

/** Verifies shell attestation tokens. A port: SPIRE is one driver of it. */
export interface SatVerifier {
  /** Throws SAT_INVALID, SAT_EXPIRED, SAT_WRONG_SUBJECT, SAT_WRONG_AUDIENCE, SAT_NOT_FRESH or SAT_UNVERIFIABLE. */
  verify(request: SatRequest): Promise<VerifiedSat>;
  /** Drops what is remembered of a token id or of a subject, after a revocation. */
  forget(what: { readonly tokenId: string } | { readonly subject: SpiffeId }): void;
}

export interface SatRequest {
  readonly token: string;
  /** The SPIFFE ID whose X.509-SVID signed the handshake: a token of anybody else is a stolen one. */
  readonly subject: SpiffeId;
  readonly audiences: SatAudiences;
  /** Levels 3 and below: only the bound audience, and nothing remembered. */
  readonly fresh: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Ends the questions to the issuer's agent early. */
  readonly signal?: AbortSignal;
}

export interface SatAudiences {
  /** The responder's SPIFFE ID. */
  readonly plain: string;
  /** The same with the hash of this handshake behind it. */
  readonly bound: string;
}

declare const verified: unique symbol;

/** A token that was verified for one subject and one audience: only a `SatVerifier` makes one. */
export interface VerifiedSat {
  readonly [verified]: true;
  /** SHA-256 of the JWS signing input as hex: ECDSA signatures can be changed without breaking, what they sign cannot. */
  readonly tokenId: string;
  readonly subject: SpiffeId;
  readonly tier: Tier | undefined;
  readonly scopes: readonly string[];
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly issuedAt: number;
  /** Whether it was minted for this very handshake. */
  readonly bound: boolean;
}

/**
 * Verification against SPIRE: the signature against the streamed JWT bundle of the subject's trust domain, always; and
 * through the agent's ValidateJWTSVID where a fresh token is asked for, so that an authority the agent already dropped
 * no longer counts. Claims are read from the token, because the agent strips those of foreign domains from its answer.
 */
export class SpireSatVerifier implements SatVerifier {
  readonly #source: Pick<IdentitySource, 'bundles' | 'validateSat'>;
  readonly #cache: SatCache;

  constructor(options: { source: Pick<IdentitySource, 'bundles' | 'validateSat'>; cacheCapacity?: number }) {
    this.#source = options.source;
    this.#cache = new SatCache(options.cacheCapacity ?? DEFAULT_CACHE_CAPACITY);
  }

  async verify(request: SatRequest): Promise<VerifiedSat> {
    const { token, subject, audiences, fresh, now } = request;
    const bundle = this.#source.bundles.jwt.get(trustDomainOf(subject));
    if (bundle === undefined)
      throw new ShellstreamError('SAT_UNVERIFIABLE', `no JWT bundle of ${trustDomainOf(subject)}`);
    const known = fresh ? undefined : this.#cache.get(token, bundle.digest, now);
    const proven = known ?? verifySignature(token, bundle);
    const { claims } = proven;

    if (claims.subject !== subject) throw new ShellstreamError('SAT_WRONG_SUBJECT');
    const bound = claims.audience === audiences.bound;
    if (!bound && claims.audience !== audiences.plain) throw new ShellstreamError('SAT_WRONG_AUDIENCE');
    if (claims.expiresAt <= now) throw new ShellstreamError('SAT_EXPIRED');
    if (Math.max(claims.issuedAt, claims.notBefore ?? 0) > now + CLOCK_SKEW_MS)
      throw new ShellstreamError('SAT_INVALID', 'issued in the future');
    if (fresh && !bound) throw new ShellstreamError('SAT_NOT_FRESH');
    const tier = readTier(claims);
    const scopes = readScopes(claims);

    if (fresh) {
      const confirmed = await this.#source.validateSat(token, claims.audience, request.signal ?? NEVER);
      if (confirmed !== subject) throw new ShellstreamError('SAT_WRONG_SUBJECT', 'the agent names another subject');
    } else if (known === undefined) this.#cache.add(token, proven);

    const { expiresAt, issuedAt } = claims;
    return { tokenId: proven.tokenId, subject, tier, scopes, expiresAt, issuedAt, bound } as VerifiedSat;
  }

  forget(what: { readonly tokenId: string } | { readonly subject: SpiffeId }): void {
    this.#cache.forget(what);
  }
}

function verifySignature(token: string, bundle: JwtBundle): ProvenToken {
  const parsed = parseJwtSvid(token);
  // The bundle was chosen by the SVID's trust domain: an authority speaks for its own domain only.
  if (trustDomainOf(parsed.claims.subject) !== bundle.trustDomain) throw new ShellstreamError('SAT_WRONG_SUBJECT');
  const authority = bundle.authorities.get(parsed.keyId);
  if (authority === undefined) throw new ShellstreamError('SAT_INVALID', 'signed by a key that is not in the bundle');
  if (!parsed.isSignedBy(authority)) throw new ShellstreamError('SAT_INVALID', 'the signature does not verify');
  const tokenId = createHash('sha256').update(parsed.signingInput).digest('hex');
  return { tokenId, claims: parsed.claims, bundleDigest: bundle.digest };
}

/** A word that is no tier refuses the token: taking it for silence would hand the decision to configuration alone. */
function readTier({ all }: JwtClaims): Tier | undefined {
  const tier = all[SAT_CLAIMS.tier];
  if (tier === undefined || isTier(tier)) return tier;
  throw new ShellstreamError('SAT_INVALID', 'a tier that is none');
}

/** A list of words, or words with spaces between them (RFC 8693 §4.2). */
function readScopes({ all }: JwtClaims): readonly string[] {
  const scopes = all[SAT_CLAIMS.scopes];
  if (scopes === undefined) return [];
  const list: unknown = typeof scopes === 'string' ? scopes.split(' ').filter((word) => word !== '') : scopes;
  if (!Array.isArray(list) || list.length > MAX_SCOPES || !list.every(isScope))
    throw new ShellstreamError('SAT_INVALID', 'scopes that are none');
  return list;
}

function isScope(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_SCOPE_LENGTH;
}

const CLOCK_SKEW_MS = 60_000;
const DEFAULT_CACHE_CAPACITY = 4096;
const NEVER = new AbortController().signal;
