/**
 * Records that somebody was shown, against the log: each is what its entry commits to, and a forensic snapshot vouches for
 * the very parts that precede it. What is not shown is not judged, but for parts of a snapshot that is.
 */
import { ShellstreamError } from '../errors.ts';
import type { Artifact } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { parseArtifact } from './artifact.ts';
import { sameBytes } from './bytes.ts';
import { commitmentOf, type LogEntry, SALT_BYTES } from './entry.ts';
import type { Finding } from './finding.ts';
import type { Opening } from './log-source.ts';
import type { Sha256 } from './merkle.ts';
import { SnapshotCheck } from './snapshot-check.ts';

export interface RecordCheck {
  readonly sha256: Sha256;
  /** By index, as `verifyLog` handed them out; those of the records suffice. */
  readonly entries: ReadonlyMap<number, LogEntry>;
  readonly records: ReadonlyMap<number, Opening>;
  /** For what else is to be judged of a record that is the log's. */
  readonly onRecord?: (index: number, artifact: Artifact) => void;
}

export function checkRecords({ sha256, entries, records, onRecord }: RecordCheck): readonly Finding[] {
  const findings: Finding[] = [];
  const snapshots = new SnapshotCheck();
  const refuted = new Set<number>();
  for (const [index, { salt, record }] of records) {
    const wrong = (why: string): void => {
      refuted.add(index);
      findings.push({ kind: 'record', entry: index, why });
    };
    const entry = entries.get(index);
    if (entry?.kind !== 'record') {
      wrong('there is no record’s entry of this number');
      continue;
    }
    if (salt.length !== SALT_BYTES || !sameBytes(commitmentOf(sha256, salt, record), entry.commitment)) {
      wrong('it is not what the entry commits to');
      continue;
    }
    const artifact = parsed(record, wrong);
    if (artifact === undefined) continue;
    onRecord?.(index, artifact);
    const { body } = artifact;
    if (body.case === 'snapshotPart') snapshots.part(index, body.value);
    if (body.case !== 'forensicSnapshot') continue;
    snapshots.snapshot(index, body.value);
    const { parts } = body.value;
    for (const [number, hash] of parts.entries()) {
      const part = records.get(index - parts.length + number);
      if (part === undefined) wrong(`part ${number} of the snapshot is not shown`);
      else if (!sameBytes(sha256(part.record), hash)) wrong(`part ${number} of the snapshot is another one`);
    }
  }
  // Rare, and of a log with millions of transits all of them would be held.
  if (snapshots.hasLate) {
    for (const [index, { record }] of records) {
      const body = refuted.has(index) ? undefined : parsed(record, () => undefined)?.body;
      if (body?.case === 'sessionTransit') snapshots.transit(index, body.value);
    }
  }
  for (const { index, why } of snapshots.findings()) findings.push({ kind: 'record', entry: index, why });
  return findings;
}

function parsed(record: Uint8Array, wrong: (why: string) => void): Artifact | undefined {
  try {
    return parseArtifact(record);
  } catch (error) {
    if (!(error instanceof ShellstreamError) || error.reason !== 'MALFORMED') throw error;
    wrong(error.message);
    return undefined;
  }
}
