/** Records for those who may see them: by tier, each with what proves it against a checkpoint that the asker holds. */
import type { Tier } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type ArtifactKind,
  mayRead,
  type Opening,
  parseArtifact,
  proveInclusion,
  type Sha256,
  subtreesOf,
} from '../../protocol/evidence/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { LogDirectory } from './log-directory.ts';
import { KIND } from './recorder.ts';
import type { SpoolEntry, SpoolReader } from './spool-reader.ts';

/** Whoever asks, as the control API knows them. */
export interface Asker {
  /** Undefined: an identity without one. */
  readonly tier: Tier | undefined;
}

export interface ProvenRecord {
  readonly index: number;
  readonly kind: ArtifactKind;
  /** The bytes that were hashed, and the salt that opens the commitment. */
  readonly opening: Opening;
  /** RFC 6962 inclusion proof in the tree of `size` leaves. */
  readonly proof: readonly Uint8Array[];
  readonly size: number;
}

export class Records {
  readonly #sha256: Sha256;
  readonly #reader: SpoolReader;
  readonly #log: LogDirectory;

  constructor(sha256: Sha256, reader: SpoolReader, log: LogDirectory) {
    this.#sha256 = sha256;
    this.#reader = reader;
    this.#log = log;
  }

  /**
   * One record, proven in the tree of `size` leaves. Undefined when there is none at this index, or its time is over.
   * @throws ShellstreamError CAPABILITY_NOT_GRANTED: of this kind the asker's tier sees none.
   */
  async read(asker: Asker, index: number, size: number): Promise<ProvenRecord | undefined> {
    const [row] = this.#reader.entries(index, index + 1);
    if (row?.opening === undefined || index >= size) {
      // Whether there is something to see is something too.
      if (asker.tier === undefined) throw refused();
      return undefined;
    }
    const kind = kindOf(row.opening.record);
    if (!mayRead(asker.tier, kind)) throw refused();
    const read = subtreesOf(this.#sha256, size, (tile) => this.#log.tile(tile));
    const proof = await proveInclusion(this.#sha256, read, index, size);
    return { index, kind, opening: row.opening, proof, size };
  }

  /**
   * Records of one kind, or of all that the asker may see, in the order of the log. A page may be empty and yet have a next.
   * @throws ShellstreamError CAPABILITY_NOT_GRANTED where the asker sees none of the kind
   */
  list(asker: Asker, kind: ArtifactKind | undefined, level: PostureLevel | undefined, after = -1): RecordList {
    const wanted = level === undefined ? kind : 'sessionTransit';
    if (level !== undefined && kind !== undefined && kind !== 'sessionTransit') {
      throw new ShellstreamError('MALFORMED', 'only session transits are asked for by level');
    }
    if (wanted === undefined ? asker.tier === undefined : !mayRead(asker.tier, wanted)) throw refused();
    const rows = this.#rows(wanted, level, after);
    const records: RecordList['records'][number][] = [];
    let size = 0;
    for (const { index, opening } of rows.entries) {
      const found = opening === undefined ? undefined : kindOf(opening.record);
      if (opening === undefined || found === undefined) continue;
      if (wanted === undefined ? !mayRead(asker.tier, found) : found !== wanted) continue;
      const isOver = records.length > 0 && size + opening.record.length > MAX_PAGE_BYTES;
      if (isOver || records.length === DEFAULT_PAGE) return { records, next: records.at(-1)?.index };
      size += opening.record.length;
      records.push({ index, kind: found, record: opening.record });
    }
    return { records, next: rows.next };
  }

  #rows(kind: ArtifactKind | undefined, level: PostureLevel | undefined, after: number) {
    const reader = this.#reader;
    if (level !== undefined) return pageOf(reader.transitsAt(level, after, DEFAULT_PAGE + 1));
    if (kind !== undefined && kind !== 'sessionTransit') {
      return pageOf(reader.ofKind(KIND[kind], after, DEFAULT_PAGE + 1));
    }
    const to = after + 1 + LONGEST_LOOK;
    return { entries: reader.entries(after + 1, to), next: to <= reader.lastIndex() ? to - 1 : undefined };
  }

  /** "All transits while at level N": a page of at most `limit` after the entry `after`, in the order of the log. */
  transitsAt(
    asker: Asker,
    level: number,
    page: { readonly after?: number; readonly limit?: number } = {},
  ): SpoolEntry[] {
    if (!mayRead(asker.tier, 'sessionTransit')) throw refused();
    const { after = -1, limit = DEFAULT_PAGE } = page;
    return this.#reader.transitsAt(level, after, Math.min(limit, LONGEST_PAGE));
  }
}

/** What is listed: a page, and where the next one begins after; undefined: there is none. */
export interface RecordList {
  readonly records: readonly { readonly index: number; readonly kind: ArtifactKind; readonly record: Uint8Array }[];
  readonly next: number | undefined;
}

const MAX_PAGE_BYTES = 524_288;
/** Entries that are looked through for one page of any kind. */
const LONGEST_LOOK = 4_096;
const DEFAULT_PAGE = 100;
const LONGEST_PAGE = 1_000;

function pageOf(entries: readonly SpoolEntry[]): { readonly entries: readonly SpoolEntry[]; readonly next: undefined } {
  return { entries, next: undefined };
}

function kindOf(record: Uint8Array): ArtifactKind {
  const kind = parseArtifact(record).body.case;
  if (kind === undefined) throw new ShellstreamError('INTERNAL', 'an artifact without a body');
  return kind;
}

function refused(): ShellstreamError {
  return new ShellstreamError('CAPABILITY_NOT_GRANTED', 'the tier does not see records of this kind');
}
