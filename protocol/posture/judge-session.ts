/** What a change of level does to a live session (P1, P3, P10). Flows need no judgement: their floors act in the kernel. */
import { type Capability, CRITICAL_TYPES, type Grant, type SessionType, type Tier } from '../capability/model.ts';
import { assertNever } from '../errors.ts';
import type { Reason } from '../reasons.ts';
import type { Accord } from './accord.ts';
import { freshSatRequired, remoteHandshakeAllowed, typeAllowed } from './handshake-rules.ts';
import type { PostureLevel } from './level.ts';

export interface LiveSession {
  readonly type: SessionType;
  readonly tier: Tier;
  readonly grant: Grant;
}

export type SessionVerdict =
  /** `reattest`: it must attest again, because the level asks for a fresh SAT and the last one may have been cached. */
  | { readonly kind: 'keep'; readonly reattest: boolean }
  /** It stays with less, at once: cutting it off would cut off whoever works on the incident, or the mesh. */
  | { readonly kind: 'narrow'; readonly capabilities: readonly Capability[]; readonly reattest: boolean }
  /** DRAIN with a deadline; its owner may attest again for the narrower grant. */
  | { readonly kind: 'drain'; readonly deadlineMs: number; readonly reason: Reason }
  /** DRAIN with deadline 0, then the end. */
  | { readonly kind: 'end'; readonly reason: Reason };

/** Judges one session when its effective level goes `from` → `to`. A level that does not fall takes nothing away. */
export function judgeSession(
  accord: Accord,
  session: LiveSession,
  from: PostureLevel,
  to: PostureLevel,
): SessionVerdict {
  if (to >= from) return { kind: 'keep', reattest: false };
  if (!remoteHandshakeAllowed(to, accord)) return { kind: 'end', reason: 'POSTURE_ISOLATED' };
  const { type, tier, grant } = session;
  const given = typeAllowed(to, type, accord) ? accord.capabilities[grant.mode][tier][to] : [];
  const left = grant.capabilities.filter((one) => given.includes(one));
  const reattest = freshSatRequired(to, accord) && !freshSatRequired(from, accord);
  const drain: SessionVerdict = { kind: 'drain', deadlineMs: accord.drainMs, reason: 'POSTURE_DRAIN' };
  const { sessions } = accord.levels[to].overlay;
  switch (sessions) {
    case 'end-remote':
      return { kind: 'end', reason: 'POSTURE_END' };
    case 'end-non-critical':
      if (!staysAtCritical(type) || !typeAllowed(to, type, accord)) return { kind: 'end', reason: 'POSTURE_END' };
      break;
    case 'drain-wider':
    case 'keep':
      break;
    default:
      return assertNever(sessions);
  }
  if (left.length === grant.capabilities.length) return { kind: 'keep', reattest };
  if (left.length === 0) return drain;
  // The mesh is kept down to level 2, and critical sessions are what level 2 is for.
  const narrows = type === 'mesh' || sessions === 'end-non-critical';
  return narrows ? { kind: 'narrow', capabilities: left, reattest } : drain;
}

function staysAtCritical(type: SessionType): boolean {
  return type === 'mesh' || CRITICAL_TYPES.has(type);
}
