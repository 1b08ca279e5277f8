/** Revocations on the control socket. Statements cross as they were signed. */
import type { RevocationsRequest } from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { parseStatement, type Staleness, type Statement } from '../../../protocol/revocation/index.ts';
import type { RevocationDesk, RevocationsView } from '../revocation-desk.ts';
import { word } from './words.ts';

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
