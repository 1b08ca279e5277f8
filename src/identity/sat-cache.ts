import { createHash } from 'node:crypto';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { JwtClaims } from './jwt-svid.ts';

/** A token whose signature holds under the bundle of that digest. */
export interface ProvenToken {
  readonly tokenId: string;
  readonly claims: JwtClaims;
  readonly bundleDigest: string;
}

/**
 * Tokens whose signature was proven, until they expire, their bundle changes or they are forgotten. The key is the hash
 * of the whole token: under the token id alone, a copy with any signature at all would be taken for the real one.
 */
export class SatCache {
  readonly #capacity: number;
  /** In order of use, oldest first. */
  readonly #entries = new Map<string, ProvenToken>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get(token: string, bundleDigest: string, now: number): ProvenToken | undefined {
    const key = hash(token);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.bundleDigest !== bundleDigest || entry.claims.expiresAt <= now) return undefined;
    this.#entries.set(key, entry);
    return entry;
  }

  add(token: string, entry: ProvenToken): void {
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= this.#capacity) this.#entries.delete(oldest);
    this.#entries.set(hash(token), entry);
  }

  forget(what: { readonly tokenId: string } | { readonly subject: SpiffeId }): void {
    for (const [key, entry] of this.#entries) {
      const meant = 'tokenId' in what ? entry.tokenId === what.tokenId : entry.claims.subject === what.subject;
      if (meant) this.#entries.delete(key);
    }
  }
}

function hash(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}
