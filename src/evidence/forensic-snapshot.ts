/**
 * PostureForensicSnapshot: what stood when level 1 came, before the first of it is torn down. The caller hands in one
 * consistent state, taken without waiting for anything; here it is cut into parts that parsers take, and one record that
 * vouches for all of them. All of it becomes durable together.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import type {
  PeerStateSchema,
  RouteSchema,
  SessionStateSchema,
  TunnelStateSchema,
} from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { Recording, Seal } from './recorder.ts';
import type { Place } from './spool-items.ts';

export interface ForensicState {
  /** CLOCK_BOOTTIME when it was taken, nanoseconds. */
  readonly atBootNs: bigint;
  readonly peers: readonly MessageInitShape<typeof PeerStateSchema>[];
  readonly tunnels: readonly MessageInitShape<typeof TunnelStateSchema>[];
  readonly routes: readonly MessageInitShape<typeof RouteSchema>[];
  /** Those whose handshake has not ended too. */
  readonly sessions: readonly MessageInitShape<typeof SessionStateSchema>[];
}

export interface SnapshotChange {
  /** Of the posture; 0: nobody knows. */
  readonly changeEpoch: bigint;
  /** By the run after the one that made the change. */
  readonly late: boolean;
}

/** The place of the record that vouches for the parts, which precede it. @param snapshotId 16 random bytes. */
export async function recordSnapshot(
  recorder: { recordAll(bodies: readonly Recording[], seal?: Seal): Promise<readonly Place[]> },
  snapshotId: Uint8Array,
  state: ForensicState,
  change: SnapshotChange,
): Promise<Place> {
  const { atBootNs, peers, tunnels, routes, sessions } = state;
  const parts: Recording[] = [];
  const part = (content: object): void => {
    parts.push({ case: 'snapshotPart', value: { snapshotId, number: parts.length, ...content } });
  };
  for (const some of chunks(peers)) part({ peers: some });
  for (const some of chunks(tunnels)) part({ tunnels: some });
  for (const some of chunks(routes)) part({ routes: some });
  for (const some of chunks(sessions)) part({ sessions: some });
  const counts = { peers: peers.length, tunnels: tunnels.length, routes: routes.length, sessions: sessions.length };
  const places = await recorder.recordAll(parts, (hashes) => ({
    case: 'forensicSnapshot',
    value: { snapshotId, atBootNs, parts: [...hashes], ...counts, ...change },
  }));
  const last = places.at(-1);
  if (last === undefined) throw new ShellstreamError('INTERNAL', 'a snapshot of no records');
  return last;
}

/** Of these a parser takes so many in one record, with all their fields. */
const CHUNK = 256;

function* chunks<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < list.length; at += CHUNK) yield list.slice(at, at + CHUNK);
}
