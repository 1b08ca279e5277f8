/** What sessions carried, of records that were shown: how much, and whose word that is. */
import { type Opening, parseArtifact } from '../../protocol/evidence/index.ts';
import { CountedBy, type Counters } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';

export interface Counted {
  readonly by: 'kernel' | 'terminator';
  readonly sessions: number;
  /** Of these there was at least so much. */
  readonly incomplete: number;
  /** Of the kernel's: of packets, both ways. */
  readonly bytes: bigint;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

/** @param records of which each was found to be what the log committed to; one that is no artifact counts nothing */
export function countedIn(records: Iterable<Opening>): readonly Counted[] {
  const all = [...records].flatMap(({ record }) => countersOf(record));
  return (['kernel', 'terminator'] as const).flatMap((by) => {
    const own = all.filter(({ countedBy }) => (countedBy === CountedBy.TERMINATOR) === (by === 'terminator'));
    return own.length === 0 ? [] : [summed(by, own)];
  });
}

/** As lines for a person. What a terminator counted is its word; the kernel's count no process that talks to strangers can change. */
export function describeCounted(counted: readonly Counted[]): readonly (readonly [string, string])[] {
  return counted.map(({ by, sessions, incomplete, bytes, receivedBytes, sentBytes }) => {
    const of = `of ${sessions} session${sessions === 1 ? '' : 's'}`;
    const mark = incomplete === 0 ? '' : `; of ${incomplete} at least, whose terminator died`;
    const what = by === 'kernel' ? `${bytes} bytes` : `${receivedBytes} bytes received, ${sentBytes} sent,`;
    return [`counted by ${by}`, `${what} ${of}${mark}`];
  });
}

function countersOf(record: Uint8Array): readonly Counters[] {
  try {
    const { body } = parseArtifact(record);
    return body.case === 'sessionTransit' ? body.value.counters : [];
  } catch {
    // That it is none is found by who judges records.
    return [];
  }
}

function summed(by: Counted['by'], all: readonly Counters[]): Counted {
  const sum = (of: (one: Counters) => bigint): bigint => all.reduce((total, one) => total + of(one), 0n);
  return {
    by,
    sessions: all.length,
    incomplete: all.filter(({ incomplete }) => incomplete).length,
    bytes: sum(({ bytes }) => bytes),
    receivedBytes: sum(({ receivedBytes }) => receivedBytes),
    sentBytes: sum(({ sentBytes }) => sentBytes),
  };
}
