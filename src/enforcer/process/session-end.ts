/** How sessions ended, as a terminator releases them with one question. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { MAX_FINAL_FRAMES } from '../../../protocol/channel/index.ts';
import type {
  SessionEndSchema,
  SessionEnd as WireSessionEnd,
} from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import type { Reason } from '../../../protocol/reasons.ts';
import type { LastWord, SessionId } from '../ports.ts';
import { key, malformed, reason, sessionId, totalsFrom } from './convert.ts';
import { reasonCode } from './messages.ts';

export interface SessionEnd {
  readonly session: SessionId;
  readonly reason: Reason;
  readonly byPeer: boolean;
  readonly lastWord: LastWord | undefined;
}

/** Sessions of one release; more go in several. At their largest 46 kB of 66 that a message may have, 2,818 fields of 4,096. */
export const MAX_RELEASED = 256;

export type SessionEndInit = MessageInitShape<typeof SessionEndSchema>;

export function sessionEndTo({ session, reason: why, byPeer, lastWord }: SessionEnd): SessionEndInit {
  const end = { session, reason: reasonCode(why), byPeer };
  if (lastWord === undefined) return end;
  const { frames, ...streams } = lastWord;
  return frames === undefined ? { ...end, streams } : { ...end, streams, frames };
}

/** Every one of them, or none where one makes no sense. */
export function sessionEndsFrom(wire: readonly WireSessionEnd[]): readonly SessionEnd[] {
  if (wire.length === 0 || wire.length > MAX_RELEASED) throw malformed('sessions', wire.length);
  return wire.map((end) => ({
    session: sessionId(end.session),
    reason: reason(end.reason),
    byPeer: end.byPeer,
    lastWord: lastWordFrom(end),
  }));
}

function lastWordFrom({ streams, frames }: WireSessionEnd): LastWord | undefined {
  if (streams === undefined) return undefined;
  const totals = totalsFrom(streams);
  if (frames === undefined) return totals;
  if (frames.headers.length > MAX_FINAL_FRAMES) throw malformed('final frames', frames.headers.length);
  return { ...totals, frames: { payloadHash: key(frames.payloadHash), headers: new Uint8Array(frames.headers) } };
}
