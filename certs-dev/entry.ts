import { Code, ConnectError } from '@connectrpc/connect';
import { SAT_CLAIMS } from '../protocol/identity/claims.ts';
import type { Clock } from '../src/base/clock.ts';
import type { Authority, IssuedSvid } from './authority.ts';

/** What a workload gets, as SPIRE's registration entry and credential composer would decide it. */
export interface EntryOptions {
  /** Path of the SPIFFE ID, with its leading slash. */
  readonly path: string;
  /** The claim `tier` of its JWT-SVIDs. */
  readonly tier?: string;
  /** The claim `scopes` of its JWT-SVIDs. */
  readonly scopes?: readonly string[];
  /** Further claims; they replace those above. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly x509TtlMs?: number;
  readonly jwtTtlMs?: number;
}

/**
 * One registered workload: its X.509-SVID and its JWT-SVIDs, which are cached per audience until half of their life is
 * over, as SPIRE's agent does. A new audience needs the server.
 */
export class EntryIdentity {
  readonly spiffeId: string;
  readonly #options: EntryOptions;
  readonly #authority: Authority;
  readonly #clock: Clock;
  readonly #serverIsAway: () => boolean;
  readonly #jwts = new Map<string, { token: string; renewAt: number; expiresAt: number }>();
  #svid: IssuedSvid;
  #isDeleted = false;

  constructor(options: EntryOptions, authority: Authority, clock: Clock, serverIsAway: () => boolean) {
    this.spiffeId = `spiffe://${authority.trustDomain}${options.path}`;
    this.#options = options;
    this.#authority = authority;
    this.#clock = clock;
    this.#serverIsAway = serverIsAway;
    this.#svid = this.#issue();
  }

  get isDeleted(): boolean {
    return this.#isDeleted;
  }

  /** Milliseconds since the epoch at which the X.509-SVID should be replaced: half of its life. */
  get renewAt(): number {
    return this.#svid.expiresAt - (this.#options.x509TtlMs ?? X509_TTL_MS) / 2;
  }

  delete(): void {
    this.#isDeleted = true;
    this.#jwts.clear();
  }

  /** A new key and certificate, and no token from the cache any more. */
  rotate(): void {
    this.#svid = this.#issue();
    this.#jwts.clear();
  }

  x509(): IssuedSvid {
    this.#requireRegistered();
    return this.#svid;
  }

  jwt(audience: readonly string[]): string {
    this.#requireRegistered();
    const now = this.#clock.now();
    const key = JSON.stringify([...audience].sort());
    const kept = this.#jwts.get(key);
    if (kept !== undefined && now < kept.renewAt) return kept.token;
    if (this.#serverIsAway()) {
      if (kept !== undefined && now < kept.expiresAt) return kept.token;
      throw new ConnectError('could not fetch JWT-SVID: server is away', Code.Unavailable);
    }
    return this.#mint(key, audience, now);
  }

  #mint(key: string, audience: readonly string[], now: number): string {
    const ttl = this.#options.jwtTtlMs ?? JWT_TTL_MS;
    const { tier, scopes, claims } = this.#options;
    const token = this.#authority.issueJwt({
      aud: audience,
      exp: Math.floor((now + ttl) / 1000),
      iat: Math.floor(now / 1000),
      sub: this.spiffeId,
      ...(tier === undefined ? {} : { [SAT_CLAIMS.tier]: tier }),
      ...(scopes === undefined ? {} : { [SAT_CLAIMS.scopes]: scopes }),
      ...claims,
    });
    this.#jwts.set(key, { token, renewAt: now + ttl / 2, expiresAt: now + ttl });
    return token;
  }

  #issue(): IssuedSvid {
    return this.#authority.issueSvid(this.spiffeId, this.#options.x509TtlMs ?? X509_TTL_MS);
  }

  #requireRegistered(): void {
    if (this.#isDeleted) throw new ConnectError('no identity issued', Code.PermissionDenied);
  }
}

const X509_TTL_MS = 3600_000;
const JWT_TTL_MS = 300_000;
