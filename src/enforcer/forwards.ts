/** Which members' packets may go on to which others through us. */
import type { Forward } from '../dataplane/ports.ts';
import type { Member } from './member.ts';

/** SPIFFE IDs: who may reach, through us, what whom lets us reach. */
export interface AllowedForward {
  readonly from: string;
  readonly to: string;
}

/** Of those whose both ends are members, as peer slots. */
export function forwardsOf(allowed: readonly AllowedForward[], members: readonly Member[]): readonly Forward[] {
  if (allowed.length === 0) return [];
  const slots = new Map(members.map(({ spec, session }) => [spec.spiffeId, session.peerSlot]));
  return allowed.flatMap(({ from, to }) => {
    const ends = { from: slots.get(from), to: slots.get(to) };
    return ends.from === undefined || ends.to === undefined ? [] : [{ from: ends.from, to: ends.to }];
  });
}
