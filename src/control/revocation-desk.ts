/** Revocations at the console: what the gateway has, and a signed statement handed in. Statements cross as they were signed. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { RevocationsRequest } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { parseStatement, type Staleness, type Statement } from '../../protocol/revocation/index.ts';
import type { Actor } from './ports.ts';
import { word } from './wire/decode.ts';

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

export function revocationsPage({ skip }: RevocationsRequest, { issuers, stale, documents }: RevocationDesk) {
  return {
    issuers: issuers.map(({ issuer, last, heartbeatMs, stale: staleness }) => ({
      issuer,
      last: BigInt(last),
      ...(heartbeatMs === undefined ? {} : { heartbeatMs: BigInt(heartbeatMs) }),
      ...(staleness === undefined ? {} : { stale: staleness }),
    })),
    ...(stale === undefined ? {} : { stale }),
    statements: documents.slice(skip, skip + PAGE).map((bytes) => Uint8Array.from(bytes)),
    more: documents.length > skip + PAGE,
  };
}

interface WirePage {
  readonly issuers: readonly {
    readonly issuer: string;
    readonly last: bigint;
    readonly heartbeatMs?: bigint | undefined;
    readonly stale?: string | undefined;
  }[];
  readonly stale?: string | undefined;
  readonly statements: readonly Uint8Array[];
  readonly more: boolean;
}

/** All pages as one. */
export async function readRevocations(page: (skip: number) => Promise<WirePage>): Promise<RevocationsView> {
  const statements: Statement[] = [];
  for (;;) {
    const { issuers, stale, statements: documents, more } = await page(statements.length);
    statements.push(...documents.map((bytes) => parseStatement(bytes).content));
    if (more && documents.length > 0) continue;
    return {
      issuers: issuers.map(({ issuer, last, heartbeatMs, stale: staleness }) => ({
        issuer,
        last: Number(last),
        heartbeatMs: heartbeatMs === undefined ? undefined : Number(heartbeatMs),
        stale: staleness === undefined ? undefined : word(STALENESS, staleness),
      })),
      statements,
      stale,
    };
  }
}

const STALENESS = ['forked', 'behind', 'silent'] as const satisfies readonly Staleness[];
// A statement has at most 8 KiB: a page fits in an answer.
const PAGE = 100;
