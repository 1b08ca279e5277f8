/** For tests: a session that stands, with nothing behind it. */
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Standing } from './directory.ts';
import type { Member } from './member.ts';

const PEER = parseSpiffeId('spiffe://a.test/x') as SpiffeId;

export const MEMBER: Member = {
  number: 1,
  generation: 1,
  session: { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: 0n },
  spec: {
    spiffeId: PEER,
    publicKey: new Uint8Array(32),
    keepalive: 0,
    prefixes: [],
    hosted: [],
    visited: [],
    level: 5,
    expiresAtBootNs: 0n,
  },
};

/** Of an operator, without a tunnel, until 60 s after the epoch. */
export function standingOf(id: string, changes: Partial<Standing['admission']> = {}): Standing {
  return {
    role: 'responder',
    credentials: { issuedAtMs: 0 },
    openedAtMs: 0,
    peerLevel: 5,
    judgedLevel: 5,
    admission: {
      id,
      peer: { spiffeId: PEER, trustDomain: 'a.test' },
      offer: { versions: [1], sessionType: 'operator', mode: 'overlay' },
      grant: { mode: 'overlay', capabilities: [], targets: [], reachable: [], lifetimeMs: 60_000 },
      effectiveLevel: 5,
      governedBy: 'both',
      peerLevel: 5,
      peerEpoch: 1n,
      toldEpoch: 1n,
      expiresAt: 60_000,
      reattestSecret: new Uint8Array(32),
      ...changes,
    },
  };
}
