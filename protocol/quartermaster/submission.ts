/** Entries of a log on their way to Quartermaster, read out of what a stranger sent. */
import { ShellstreamError } from '../errors.ts';
import {
  type ArtifactKind,
  isKeyName,
  MAX_RECORD_BYTES,
  type Opening,
  parseArtifact,
  parseEntry,
  SALT_BYTES,
  toHex,
} from '../evidence/index.ts';
import type { Artifact } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { type Entry, Lane, type SubmitRequest } from '../gen/shellstream/quartermaster/v1/quartermaster_pb.ts';

export { Lane };

/** One numbering of entries: the log of a node, or what sampling left out of it. */
export interface LogName {
  readonly origin: string;
  readonly lane: typeof Lane.LOG | typeof Lane.LEFT_OUT;
}

export interface Submission {
  readonly log: LogName;
  /** Sequence of the first entry; the others follow without a gap. */
  readonly first: number;
  readonly entries: readonly SubmittedEntry[];
}

export type SubmittedEntry =
  | { readonly what: 'record'; readonly opening: Opening; readonly facts: Facts }
  | { readonly what: 'leaf'; readonly leaf: Uint8Array }
  | { readonly what: 'gone' };

/** What of a record can be asked for. */
export interface Facts {
  readonly kind: ArtifactKind;
  readonly atMs: number;
  /** Of a session transit. */
  readonly level: number | undefined;
  /** Of the session, 32 hex digits. */
  readonly session: string | undefined;
  /** SPIFFE IDs: who began it, and the other end. */
  readonly actor: string | undefined;
  readonly peer: string | undefined;
}

/** Of one message: what a receiver must be able to hold for each of its callers. */
export const SUBMIT_LIMITS = { entries: 512, messageBytes: 2_097_152 } as const;

/** @throws ShellstreamError MALFORMED */
export function parseLogName(origin: string, lane: Lane): LogName {
  if (!isKeyName(origin)) throw malformed('the origin of a log');
  if (lane === Lane.LOG) return { origin, lane: Lane.LOG };
  if (lane === Lane.LEFT_OUT) return { origin, lane: Lane.LEFT_OUT };
  throw malformed(`lane ${lane}`);
}

/** @throws ShellstreamError MALFORMED */
export function parseSubmission({ origin, lane, first, entries }: SubmitRequest): Submission {
  const log = parseLogName(origin, lane);
  if (entries.length === 0) throw malformed('no entries');
  if (entries.length > SUBMIT_LIMITS.entries) throw malformed(`${entries.length} entries`);
  if (first + BigInt(entries.length) > LARGEST_SEQUENCE) throw malformed('a sequence out of range');
  return { log, first: Number(first), entries: entries.map((entry) => parseSubmitted(entry, log.lane)) };
}

export function factsOf({ atMs, body }: Artifact): Facts {
  const none = { level: undefined, session: undefined, actor: undefined, peer: undefined };
  if (body.case === undefined) throw malformed('an artifact without a body');
  const head = { kind: body.case, atMs: wholeMs(atMs) };
  if (body.case === 'sessionTransit') {
    const { postureLevelAtTransit, sessionId, initiatorId, responderId } = body.value;
    const ends = { actor: textOf(initiatorId), peer: textOf(responderId) };
    return { ...head, level: postureLevelAtTransit, session: toHex(sessionId), ...ends };
  }
  if (body.case === 'networkMutation') {
    const { sessionId, actorId } = body.value;
    return { ...head, ...none, session: textOf(toHex(sessionId)), actor: textOf(actorId) };
  }
  return { ...head, ...none };
}

function parseSubmitted({ what }: Entry, lane: LogName['lane']): SubmittedEntry {
  switch (what.case) {
    case 'record': {
      const { artifact, salt } = what.value;
      if (salt.length !== SALT_BYTES) throw malformed(`a salt of ${salt.length} bytes`);
      if (artifact.length > MAX_RECORD_BYTES) throw malformed(`a record of ${artifact.length} bytes`);
      const facts = factsOf(parseArtifact(artifact));
      if (lane === Lane.LEFT_OUT && facts.kind !== 'sessionTransit') throw malformed(`${facts.kind} left out`);
      return { what: 'record', opening: { record: artifact, salt }, facts };
    }
    case 'leaf':
      parseEntry(what.value);
      return { what: 'leaf', leaf: what.value };
    case 'gone':
      return { what: 'gone' };
    case undefined:
      throw malformed('an entry that is nothing');
  }
}

const LARGEST_SEQUENCE = 2n ** 53n - 1n;
/** The year 2286: a time beyond it would stand before all others, or after them, for ever. */
const LATEST_MS = 10_000_000_000_000n;

function wholeMs(value: bigint): number {
  if (value > LATEST_MS) throw malformed('a time beyond all calendars');
  return Number(value);
}

function textOf(text: string): string | undefined {
  return text === '' ? undefined : text;
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `submission: ${what}`);
}
