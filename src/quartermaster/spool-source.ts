/** What a node has to forward, read from its spool in pages. What it has forgotten is said to be gone, never left out. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import { encodeEntry, type Opening } from '../../protocol/evidence/index.ts';
import type { EntrySchema } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { Lane, type LogName, SUBMIT_LIMITS } from '../../protocol/quartermaster/index.ts';
import type { Spool } from '../evidence/spool.ts';
import type { RecordSource } from './store-reader.ts';

export type ForwardedEntry = MessageInitShape<typeof EntrySchema>;

export interface ForwardSource {
  /** The sequence after the last entry that is durable; undefined while nothing can be read. */
  end(lane: LogName['lane']): number | undefined;
  /** At least one entry from `from` on, if `from` is below the end; as many as one message takes. */
  read(lane: LogName['lane'], from: number): readonly ForwardedEntry[];
}

type SpoolView = Pick<Spool, 'reader' | 'size' | 'counters'>;

/** @param open the spool, if it is open now. */
export function spoolSource(open: () => SpoolView | undefined): ForwardSource {
  return {
    end: (lane) => endOf(open(), lane),
    read(lane, from) {
      const spool = open();
      const entries: ForwardedEntry[] = [];
      const to = Math.min(endOf(spool, lane) ?? 0, from + SUBMIT_LIMITS.entries);
      for (let [at, size] = [from, 0]; spool !== undefined && at < to && size < FULL_BYTES; ) {
        const page = pageOf(spool, lane, at, Math.min(to, at + PAGE));
        for (const entry of page) {
          const bytes = sizeOf(entry);
          if (entries.length > 0 && size + bytes > FULL_BYTES) return entries;
          size += bytes;
          entries.push(entry);
        }
        at += page.length;
      }
      return entries;
    },
  };
}

/** The same, for a store within this process that keeps no bytes of its own. */
export function spoolRecords(open: () => SpoolView | undefined): RecordSource {
  return {
    opening(lane, sequence) {
      const reader = open()?.reader;
      if (reader === undefined) throw new ShellstreamError('EVIDENCE_FAILED', 'the spool is not open');
      const rows = lane === Lane.LOG ? reader.entries(sequence, sequence + 1) : reader.leftOut(sequence, sequence + 1);
      return rows[0]?.opening;
    },
  };
}

function endOf(spool: SpoolView | undefined, lane: LogName['lane']): number | undefined {
  return lane === Lane.LOG ? spool?.size : spool?.counters.leftOut;
}

/** A page is read whole before it is cut: few records, for each may be large. */
const PAGE = 32;
const FULL_BYTES = SUBMIT_LIMITS.messageBytes / 2;
const OVERHEAD = 64;

function pageOf(spool: SpoolView, lane: LogName['lane'], from: number, to: number): ForwardedEntry[] {
  const found = new Map<number, ForwardedEntry>();
  if (lane === Lane.LOG) {
    for (const { index, entry, opening } of spool.reader.entries(from, to))
      found.set(index, opening === undefined ? leaf(entry) : record(opening));
  } else {
    for (const { number, opening, commitment } of spool.reader.leftOut(from, to)) {
      if (opening !== undefined) found.set(number, record(opening));
      else if (commitment !== undefined) found.set(number, leaf(encodeEntry({ kind: 'record', commitment })));
    }
  }
  return Array.from({ length: to - from }, (_, i) => found.get(from + i) ?? GONE);
}

const GONE: ForwardedEntry = { what: { case: 'gone', value: {} } };

function leaf(value: Uint8Array): ForwardedEntry {
  return { what: { case: 'leaf', value } };
}

function record({ record: artifact, salt }: Opening): ForwardedEntry {
  return { what: { case: 'record', value: { artifact, salt } } };
}

function sizeOf({ what }: ForwardedEntry): number {
  if (what?.case === 'record') return OVERHEAD + (what.value.artifact?.length ?? 0);
  return OVERHEAD;
}
