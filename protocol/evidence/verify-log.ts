/**
 * The whole of a log, offline, by whoever holds its files, the keys it is known by and the checkpoints kept of it. Runs in a
 * browser as in the daemon. Records are not needed; with them `auditRecords` goes further.
 */
import { ShellstreamError } from '../errors.ts';
import { sameBytes } from './bytes.ts';
import type { Ed25519 } from './ed25519.ts';
import { type LogEntry, parseEntry } from './entry.ts';
import type { Finding } from './finding.ts';
import { judgeHeld, openCheckpoint, type Trust } from './held.ts';
import type { LogSource } from './log-source.ts';
import type { Sha256 } from './merkle.ts';
import { type LeftOutBatch, SamplingCheck } from './sampling-check.ts';
import { subtreesOf } from './tile.ts';
import { checkTree } from './tree-check.ts';
import { orWholeTiles } from './whole-tiles.ts';

export interface VerifyLog {
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly source: LogSource;
  readonly trust: Trust;
  /** Cosignatures of known witnesses that the checkpoint must bear. */
  readonly quorum?: number;
  /** Notes of checkpoints kept from earlier, of any age. */
  readonly held?: readonly Uint8Array[];
  /** What the log's owner was allowed to prune; 0: nothing. */
  readonly minimumIndex?: number;
  /** For who reads along: each entry, after it was checked against its tile. */
  readonly onEntry?: (index: number, entry: LogEntry) => void;
}

export interface LogReport {
  /** Of the checkpoint; 0 where there is none to believe. */
  readonly size: number;
  readonly root: Uint8Array | undefined;
  readonly signedBy: readonly string[];
  /** Entries that were read and checked; less than `size` where something was found, or pruned. */
  readonly entries: number;
  /** Sampling keys that were revealed, by day. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
  readonly batches: readonly LeftOutBatch[];
  /** Sizes of held checkpoints from before the minimum index: what they were signed over is gone, so nothing is said. */
  readonly unprovable: readonly number[];
  /** Empty: all of it is as it must be. */
  readonly findings: readonly Finding[];
}

export async function verifyLog(parts: VerifyLog): Promise<LogReport> {
  const { sha256, ed25519, trust, quorum = 0, held = [], minimumIndex = 0 } = parts;
  const source = orWholeTiles(parts.source);
  const findings: Finding[] = [];
  const onFinding = (finding: Finding): void => void findings.push(finding);
  const sampling = new SamplingCheck(sha256, minimumIndex > 0, onFinding);
  const nothing = {
    size: 0,
    root: undefined,
    signedBy: [],
    entries: 0,
    keys: sampling.keys,
    batches: [],
    unprovable: [],
    findings,
  };

  const bytes = await source.checkpoint();
  if (bytes === undefined) return { ...nothing, findings: [{ kind: 'checkpoint', why: 'missing' }] };
  const current = openCheckpoint(ed25519, bytes, trust);
  if ('refused' in current) return { ...nothing, findings: [{ kind: 'checkpoint', why: current.refused }] };
  if (current.cosignatures < quorum || current.wrong.length > 0) {
    onFinding({ kind: 'witnesses', have: current.cosignatures, need: quorum, wrong: current.wrong });
  }

  const { size } = current;
  let entries = 0;
  const onEntry = (index: number, encoded: Uint8Array): void => {
    entries += 1;
    const entry = readEntry(index, encoded, onFinding);
    if (entry === undefined) return;
    sampling.entry(index, entry);
    parts.onEntry?.(index, entry);
  };
  const root = await checkTree({ sha256, source, size, minimumIndex, onEntry, onFinding });
  if (root !== undefined && !sameBytes(root, current.root)) onFinding({ kind: 'root', size });

  const read = subtreesOf(sha256, size, (tile) => source.tile(tile));
  const unprovable: number[] = [];
  for (const kept of held) {
    const opened = openCheckpoint(ed25519, kept, trust);
    if ('refused' in opened) {
      onFinding({ kind: 'held', size: 0, what: 'unreadable', signedBoth: [] });
    } else if (opened.size < minimumIndex) {
      unprovable.push(opened.size);
    } else if (opened.size > 0) {
      // Of files that do not even agree with each other the findings above say all there is.
      const finding =
        root === undefined && opened.size < size ? undefined : await judgeHeld(sha256, opened, current, read);
      if (finding !== undefined) onFinding(finding);
    }
  }
  const { keys, batches } = sampling;
  return { size, root: current.root, signedBy: current.signedBy, entries, keys, batches, unprovable, findings };
}

function readEntry(index: number, encoded: Uint8Array, onFinding: (finding: Finding) => void): LogEntry | undefined {
  try {
    return parseEntry(encoded);
  } catch (error) {
    if (!(error instanceof ShellstreamError) || error.reason !== 'MALFORMED') throw error;
    onFinding({ kind: 'record', entry: index, why: error.message });
    return undefined;
  }
}
