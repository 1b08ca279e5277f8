/** What was revoked, found by what a peer shows. */
import { assertNever } from '../errors.ts';
import { trustDomainOf } from '../identity/spiffe-id.ts';
import { reaches } from './rules.ts';
import type { Statement } from './statement.ts';

/** A peer, as far as it is known, and what it stands on. */
export interface RevocationSubject {
  readonly trustDomain: string;
  readonly spiffeId: string;
  readonly session?: string;
  readonly tokenId?: string;
  /** Milliseconds since the epoch: the oldest of its credentials. */
  readonly issuedAtMs?: number;
}

export class RevokedIndex {
  readonly #localSite: string;
  /** By session, identity and token; several issuers may name one. */
  readonly #named = new Map<string, Statement[]>();
  /** By identity or trust domain: of each issuer's domain the latest cut-off, which holds for the earlier ones too. */
  readonly #cutOffs = new Map<string, Map<string, Statement>>();

  /** @param localSite trust domain whose issuers reach every peer */
  constructor(localSite: string) {
    this.#localSite = localSite;
  }

  add(statement: Statement): void {
    const { what } = statement;
    switch (what.kind) {
      case 'session':
        return this.#name(`session ${what.session}`, statement);
      case 'identity':
        return this.#name(`identity ${what.identity}`, statement);
      case 'token':
        return this.#name(`token ${what.token}`, statement);
      case 'issued-before':
        return this.#cutOff(
          'identity' in what.of ? `identity ${what.of.identity}` : `domain ${what.of.trustDomain}`,
          what.timeMs,
          statement,
        );
      default:
        return assertNever(what);
    }
  }

  /** By which statement; undefined when nobody revoked it. */
  find(subject: RevocationSubject): Statement | undefined {
    const { trustDomain, spiffeId, session, tokenId, issuedAtMs } = subject;
    const keys = [`identity ${spiffeId}`];
    if (session !== undefined) keys.push(`session ${session}`);
    if (tokenId !== undefined) keys.push(`token ${tokenId}`);
    for (const key of keys) {
      const found = this.#named.get(key)?.find((statement) => this.#reaches(statement, trustDomain));
      if (found !== undefined) return found;
    }
    if (issuedAtMs === undefined) return undefined;
    for (const key of [`identity ${spiffeId}`, `domain ${trustDomain}`]) {
      for (const statement of this.#cutOffs.get(key)?.values() ?? []) {
        if (issuedAtMs < cutOffOf(statement) && this.#reaches(statement, trustDomain)) return statement;
      }
    }
    return undefined;
  }

  #reaches({ issuer }: Statement, peerDomain: string): boolean {
    return reaches(trustDomainOf(issuer), peerDomain, this.#localSite);
  }

  #name(key: string, statement: Statement): void {
    const former = this.#named.get(key);
    if (former === undefined) this.#named.set(key, [statement]);
    else former.push(statement);
  }

  #cutOff(key: string, timeMs: number, statement: Statement): void {
    const issuer = trustDomainOf(statement.issuer);
    const byIssuer = this.#cutOffs.get(key) ?? new Map<string, Statement>();
    this.#cutOffs.set(key, byIssuer);
    const former = byIssuer.get(issuer);
    if (former === undefined || cutOffOf(former) < timeMs) byIssuer.set(issuer, statement);
  }
}

function cutOffOf({ what }: Statement): number {
  return what.kind === 'issued-before' ? what.timeMs : 0;
}
