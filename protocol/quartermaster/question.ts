/** Questions to Quartermaster, read out of what a stranger sent. */
import { TIERS, type Tier } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import { type ArtifactKind, isKeyName, mayRead, toHex, utf8 } from '../evidence/index.ts';
import { ArtifactSchema } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import type { Filter, QueryRequest } from '../gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import { isPostureLevel, type PostureLevel } from '../posture/level.ts';
import { type Cursor, parseCursor } from './cursor.ts';

/** All that is given must hold. */
export interface Wanted {
  readonly level: PostureLevel | undefined;
  readonly identity: SpiffeId | undefined;
  /** 32 hex digits. */
  readonly session: string | undefined;
  readonly fromMs: number;
  /** Exclusive. */
  readonly toMs: number;
  readonly origin: string | undefined;
  /** What was asked for and the asker may see. */
  readonly kinds: ReadonlySet<ArtifactKind>;
}

export interface Question {
  readonly wanted: Wanted;
  readonly newestFirst: boolean;
  readonly limit: number;
  readonly after: Cursor | undefined;
}

export const LONGEST_PAGE = 500;
const USUAL_PAGE = 100;

/** Every kind of artifact there is, with its field's number in the schema. */
export const ARTIFACT_KINDS: ReadonlyMap<ArtifactKind, number> = new Map(
  ArtifactSchema.oneofs.flatMap(({ fields }) =>
    fields.map(({ localName, number }) => [localName as ArtifactKind, number] as const),
  ),
);

/**
 * @param tier of who asks; undefined: none.
 * @throws ShellstreamError MALFORMED, or CAPABILITY_NOT_GRANTED for a kind that the tier does not see
 */
export function parseQuestion(request: QueryRequest, tier: Tier | undefined): Question {
  const wanted = parseWanted(request.filter, tier);
  const { newestFirst, limit, cursor } = request;
  if (limit > LONGEST_PAGE) throw malformed(`${limit} at once, at most ${LONGEST_PAGE}`);
  const after = cursor === '' ? undefined : parseCursor(cursor, questionKey(wanted, newestFirst));
  return { wanted, newestFirst, limit: limit === 0 ? USUAL_PAGE : limit, after };
}

/** As {@link parseQuestion}, of the filter alone. */
export function parseWanted(filter: Filter | undefined, tier: Tier | undefined): Wanted {
  const { level, identity = '', session, fromMs = 0n, toMs = 0n, origin = '', kinds = [] } = filter ?? {};
  if (level !== undefined && !isPostureLevel(level)) throw malformed(`level ${level}`);
  const spiffeId = identity === '' ? undefined : parseSpiffeId(identity);
  if (identity !== '' && spiffeId === undefined) throw malformed('no SPIFFE ID');
  if (session !== undefined && session.length !== 0 && session.length !== SESSION_BYTES)
    throw malformed(`a session of ${session.length} bytes`);
  if (origin !== '' && !isKeyName(origin)) throw malformed('the origin of a log');
  const isNarrowed = level !== undefined || spiffeId !== undefined || (session?.length ?? 0) > 0;
  const range = { fromMs: wholeMs(fromMs), toMs: toMs === 0n ? Number.MAX_SAFE_INTEGER : wholeMs(toMs) };
  return {
    level,
    identity: spiffeId,
    session: session === undefined || session.length === 0 ? undefined : toHex(session),
    ...range,
    origin: origin === '' ? undefined : origin,
    kinds: visibleKinds(kinds, tier, isNarrowed),
  };
}

/** What a cursor is bound to: two questions that differ have different ones. */
export function questionKey(wanted: Wanted, newestFirst: boolean): Uint8Array {
  return utf8(JSON.stringify([{ ...wanted, kinds: [...wanted.kinds].sort() }, newestFirst]));
}

const SESSION_BYTES = 16;

/** @param isNarrowed only to what transits and mutations have */
function visibleKinds(
  asked: readonly string[],
  tier: Tier | undefined,
  isNarrowed: boolean,
): ReadonlySet<ArtifactKind> {
  if (tier === undefined || !TIERS.includes(tier)) throw refused('an identity without a tier');
  const all = [...ARTIFACT_KINDS.keys()];
  if (asked.length > ARTIFACT_KINDS.size) throw malformed(`${asked.length} kinds`);
  if (asked.length === 0) {
    // Both are for the same tiers.
    if (isNarrowed && !mayRead(tier, 'sessionTransit')) throw refused(`the tier ${tier} does not see sessionTransit`);
    return new Set(all.filter((kind) => mayRead(tier, kind)));
  }
  const kinds = asked.map((name) => {
    const kind = all.find((known) => known === name);
    if (kind === undefined) throw malformed('a kind not known');
    // Left out in silence, an answer without any would read as "there was none".
    if (!mayRead(tier, kind)) throw refused(`the tier ${tier} does not see ${kind}`);
    return kind;
  });
  return new Set(kinds);
}

function wholeMs(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('a time out of range');
  return Number(value);
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `question: ${what}`);
}

function refused(what: string): ShellstreamError {
  return new ShellstreamError('CAPABILITY_NOT_GRANTED', what);
}
