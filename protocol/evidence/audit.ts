/**
 * What an auditor checks who may see records: that they are those the log committed to, that sampling chose as its revealed
 * keys say, and that every transit is somewhere. Transits are numbered without a gap over those notarised and those left
 * out; so one that is in neither was deleted, and one that is left out against the rule was hidden.
 */
import { ShellstreamError } from '../errors.ts';
import type { SessionTransitArtifact } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import type { CryptoProvider } from '../noise/crypto.ts';
import type { PostureLevel } from '../posture/level.ts';
import { parseArtifact } from './artifact.ts';
import { sameBytes, toHex } from './bytes.ts';
import { commitmentOf, encodeEntry, type LogEntry, SALT_BYTES } from './entry.ts';
import type { Finding } from './finding.ts';
import type { LeftOutOpening, Opening } from './log-source.ts';
import { leafHash, rootOf } from './merkle.ts';
import { isSampled, type SamplingRates } from './sampling.ts';
import type { LeftOutBatch } from './sampling-check.ts';

export interface AuditParts {
  readonly crypto: Pick<CryptoProvider, 'sha256' | 'hmacSha256'>;
  readonly rates: SamplingRates;
  /** Of the report of `verifyLog`: records from there on are younger than the checkpoint. Absent: none is. */
  readonly size?: number;
  /** Of the same report: only what it found to be in the log. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
  readonly batches: readonly LeftOutBatch[];
  /** Entries of kind record, by index, as `verifyLog` handed them out. */
  readonly entries: ReadonlyMap<number, LogEntry>;
  /** The records behind them; those whose time is over are missing. */
  readonly records: ReadonlyMap<number, Opening>;
  /** Left-out records by their number. */
  readonly leftOut: ReadonlyMap<number, LeftOutOpening>;
}

/** What became of the transits of a session that somebody knows took place. */
export type SessionVerdict = 'notarised' | 'left out' | 'not committed to' | 'deleted';

export interface Audit {
  readonly findings: readonly Finding[];
  /**
   * Records that were shown and that nothing binds their owner to yet: those that are younger than the checkpoint, and left-out
   * ones that wait for their batch root, which is there a minute after them.
   */
  readonly uncommitted: number;
  /** @param sessionId 16 bytes, as the peer of the session knows it. */
  verdict(sessionId: Uint8Array): SessionVerdict;
}

export function auditRecords(parts: AuditParts): Audit {
  const auditor = new Auditor(parts);
  let uncommitted = 0;
  for (const [index, opening] of parts.records) {
    if (parts.size === undefined || index < parts.size) auditor.record(index, opening);
    else uncommitted += auditor.young(index, opening);
  }
  for (const batch of parts.batches) auditor.batch(batch);
  uncommitted += auditor.uncommitted();
  auditor.close();
  return {
    findings: auditor.findings,
    uncommitted,
    verdict: (sessionId) => auditor.sessions.get(toHex(sessionId)) ?? 'deleted',
  };
}

class Auditor {
  readonly #parts: AuditParts;
  readonly #transits = new Set<number>();
  /** Records that are gone, of which some may have been transits. */
  #forgotten = 0;
  readonly findings: Finding[] = [];
  readonly sessions = new Map<string, SessionVerdict>();

  constructor(parts: AuditParts) {
    this.#parts = parts;
    for (const [index, { kind }] of parts.entries) {
      if (kind === 'record' && !parts.records.has(index)) this.#forgotten += 1;
    }
  }

  record(index: number, opening: Opening): void {
    const entry = this.#parts.entries.get(index);
    if (entry?.kind !== 'record') return this.#wrong(index, 'there is no record’s entry of this number');
    const commitment = this.#commitment(opening);
    if (commitment === undefined || !sameBytes(commitment, entry.commitment)) {
      return this.#wrong(index, 'it is not what the entry commits to');
    }
    const found = this.#transit(index, opening);
    if (found !== undefined) this.#seen(index, found.transit, 'notarised');
  }

  /** Of the log, and the checkpoint does not speak of it: 1. */
  young(index: number, opening: Opening): 1 {
    const found = this.#transit(index, opening);
    if (found !== undefined) this.#seen(index, found.transit, 'not committed to');
    return 1;
  }

  batch({ entry, day, first, count, root }: LeftOutBatch): void {
    const leaves: Uint8Array[] = [];
    for (let number = first; number < first + count; number += 1) {
      const opening = this.#parts.leftOut.get(number);
      const commitment = opening === undefined ? undefined : this.#commitment(opening);
      if (opening === undefined || commitment === undefined) {
        // The others are there, though nothing can be proven of them.
        this.#unproven(first, first + count);
        return this.#wrong(entry, `left-out record ${number} of its batch is not shown`);
      }
      leaves.push(leafHash(this.#parts.crypto.sha256, encodeEntry({ kind: 'record', commitment })));
    }
    for (let number = first; number < first + count; number += 1) {
      const opening = this.#parts.leftOut.get(number);
      if (opening !== undefined && 'record' in opening) this.#leftOut(entry, day, number, opening);
      else this.#forgotten += 1;
    }
    if (!sameBytes(rootOf(this.#parts.crypto.sha256, leaves), root)) {
      this.#wrong(entry, `left-out records ${first} to ${first + count - 1} are not those its batch committed to`);
    }
  }

  /** Those above all batches: shown, and nothing binds their owner to them yet. */
  uncommitted(): number {
    const { batches, leftOut } = this.#parts;
    const committed = batches.reduce((end, { first, count }) => Math.max(end, first + count), 0);
    const above = [...leftOut.keys()].filter((number) => number >= committed);
    return above.reduce((count, number) => count + this.#unproven(number, number + 1), 0);
  }

  close(): void {
    let count = 0;
    for (const number of this.#transits) count = Math.max(count, number + 1);
    let missing = count - this.#transits.size;
    // Of records that are gone nobody can tell which numbers they had.
    missing -= this.#forgotten;
    for (let number = 0; number < count && missing > 0; number += 1) {
      if (this.#transits.has(number)) continue;
      let length = 1;
      while (number + length < count && !this.#transits.has(number + length)) length += 1;
      this.findings.push({ kind: 'deleted', first: number, count: length });
      missing -= length;
      number += length;
    }
  }

  /** Of these, how many transits are shown that no root proves. */
  #unproven(from: number, to: number): number {
    let shown = 0;
    for (let number = from; number < to; number += 1) {
      const opening = this.#parts.leftOut.get(number);
      const found = opening !== undefined && 'record' in opening ? this.#transit(number, opening) : undefined;
      if (found === undefined) continue;
      this.#seen(number, found.transit, 'not committed to');
      shown += 1;
    }
    return shown;
  }

  #leftOut(entry: number, day: number, number: number, opening: Opening): void {
    const found = this.#transit(entry, opening);
    if (found === undefined)
      return this.#wrong(entry, `left-out record ${number} is no transit: only those are sampled`);
    const { transit, level } = found;
    const { crypto, keys, rates } = this.#parts;
    const key = keys.get(day);
    const isCertain = rates[level] >= 100;
    // Before the key is revealed nobody outside can repeat the choice, where there is one.
    if (isCertain || (key !== undefined && isSampled(crypto.hmacSha256, key, transit.sessionId, rates[level]))) {
      this.#wrong(entry, `left-out record ${number} should have been notarised at level ${level}`);
    }
    this.#seen(entry, transit, 'left out');
  }

  #seen(entry: number, { transit, sessionId }: SessionTransitArtifact, verdict: SessionVerdict): void {
    const number = Number(transit);
    if (this.#transits.has(number)) this.#wrong(entry, `transit ${number} is told twice`);
    this.#transits.add(number);
    const id = toHex(sessionId);
    if (VERDICTS.indexOf(verdict) < VERDICTS.indexOf(this.sessions.get(id) ?? 'deleted'))
      this.sessions.set(id, verdict);
  }

  /** With the level whose rate counts: the stricter of that at the transit and that at which it was recorded. */
  #transit(
    entry: number,
    { record }: Opening,
  ): { readonly transit: SessionTransitArtifact; readonly level: PostureLevel } | undefined {
    try {
      const { body, postureLevel } = parseArtifact(record);
      if (body.case !== 'sessionTransit') return undefined;
      return { transit: body.value, level: levelOf(Math.min(postureLevel, body.value.postureLevelAtTransit)) };
    } catch (error) {
      if (!(error instanceof ShellstreamError) || error.reason !== 'MALFORMED') throw error;
      this.#wrong(entry, error.message);
      return undefined;
    }
  }

  #commitment(opening: LeftOutOpening): Uint8Array | undefined {
    if ('commitment' in opening) return opening.commitment.length === 32 ? opening.commitment : undefined;
    if (opening.salt.length !== SALT_BYTES) return undefined;
    return commitmentOf(this.#parts.crypto.sha256, opening.salt, opening.record);
  }

  #wrong(entry: number, why: string): void {
    this.findings.push({ kind: 'record', entry, why });
  }
}

/** Of several transits of a session the first of these is told. */
const VERDICTS: readonly SessionVerdict[] = ['notarised', 'left out', 'not committed to', 'deleted'];

function levelOf(value: number): PostureLevel {
  switch (value) {
    case 5:
    case 4:
    case 3:
    case 2:
      return value;
    default:
      return 1;
  }
}
