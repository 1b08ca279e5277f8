/**
 * How far a session is on its way to its end, and which frames the peer may send there. What is not in the table
 * is a protocol error; finer conditions (known stream, window, role) are the channel's.
 */
import type { Reason } from '../reasons.ts';
import type { FrameType } from './frame.ts';

export type Phase =
  | { readonly kind: 'open' }
  | DrainingPhase
  | { readonly kind: 'closed'; readonly reason: Reason; readonly by: 'us' | 'peer' };

export interface DrainingPhase {
  readonly kind: 'draining';
  readonly reason: Reason;
  /** When the session ends whatever still runs, in the machine's time. */
  readonly deadline: number;
  /** Whether we asked for it; then we close when both have said DRAINED. */
  readonly asked: boolean;
  readonly saidDrained: boolean;
  readonly peer: PeerInDrain;
}

/** `unaware`: our DRAIN may still be on its way, so a STREAM_OPEN is no fault of the peer. */
export type PeerInDrain = 'unaware' | 'draining' | 'drained';

const EVERY: readonly FrameType[] = [
  'GRANT',
  'DENY',
  'POSTURE',
  'DRAIN',
  'DRAINED',
  'TUNNEL',
  'REATTEST',
  'STREAM_OPEN',
  'STREAM_DATA',
  'STREAM_WINDOW',
  'STREAM_CLOSE',
  'PING',
  'PONG',
  'CLOSE',
  'PACKET',
];

function without(...types: readonly FrameType[]): ReadonlySet<FrameType> {
  return new Set(EVERY.filter((type) => !types.includes(type)));
}

const LEGAL: Readonly<Record<'open' | PeerInDrain, ReadonlySet<FrameType>>> = {
  open: without('DRAINED'),
  unaware: without(),
  draining: without('STREAM_OPEN'),
  // STREAM_CLOSE stays: a peer that has said DRAINED still refuses a stream that we opened before its DRAIN came.
  drained: without('STREAM_OPEN', 'STREAM_DATA', 'STREAM_WINDOW', 'DRAINED'),
};

export function isLegal(phase: Exclude<Phase, { kind: 'closed' }>, type: FrameType): boolean {
  return LEGAL[phase.kind === 'open' ? 'open' : phase.peer].has(type);
}
