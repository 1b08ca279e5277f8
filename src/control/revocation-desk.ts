/** Revocations at the console: what the gateway has, and a signed statement handed in. Statements cross as they were signed. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Staleness, Statement } from '../../protocol/revocation/index.ts';
import type { Actor } from './actor.ts';

export interface RevocationsView {
  readonly issuers: readonly IssuerView[];
  /** In the order they came. */
  readonly statements: readonly Statement[];
  /** Why newcomers at level 3 and below are refused. */
  readonly stale?: string | undefined;
}

export interface IssuerView {
  /** SPIFFE ID. */
  readonly issuer: string;
  /** The number of its latest statement that is here. */
  readonly last: number;
  readonly heartbeatMs?: number | undefined;
  /** Undefined: all of it is here, and recent. */
  readonly stale?: Staleness | undefined;
}

export interface RevocationDesk {
  readonly issuers: readonly IssuerView[];
  readonly stale: string | undefined;
  /** Signed statements in the order they came. */
  readonly documents: readonly Uint8Array[];
  /** Resolves when it is durable and in effect; false when it was known before. Throws as `Revocations.offer`. */
  offer(signed: Uint8Array, by: Actor): Promise<boolean>;
}

/** As a client has it. */
export interface RemoteRevocations {
  list(): Promise<RevocationsView>;
  offer(signed: Uint8Array): Promise<boolean>;
}

/** Of a gateway where nobody can revoke. */
export const NO_REVOCATIONS: RevocationDesk = {
  issuers: [],
  stale: undefined,
  documents: [],
  offer: () => Promise.reject(new ShellstreamError('REVOCATION_REFUSED', 'no issuer of revocations is configured')),
};
