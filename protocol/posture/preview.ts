/** What a level would do to the sessions that stand, before anybody sets it. */
import type { Accord } from './accord.ts';
import { judgeSession, type LiveSession } from './judge-session.ts';
import { mostRestrictive, type PostureLevel } from './level.ts';

export interface PreviewedSession extends LiveSession {
  readonly id: string;
  readonly peer: string;
  /** As the peer said it last. */
  readonly peerLevel: PostureLevel;
}

/** `reattest`: it stays, and must prove itself anew. */
export const PREVIEWED_FATES = ['keep', 'reattest', 'narrow', 'drain', 'end'] as const;
export type PreviewedFate = (typeof PREVIEWED_FATES)[number];

export interface FateOfSession {
  readonly session: PreviewedSession;
  readonly fate: PreviewedFate;
  /** How long a drained one may finish what it does. */
  readonly deadlineMs: number;
}

/** When this node goes `from` → `to` and its peers stay where they are; one for each session, in their order. */
export function previewLevel(
  accord: Accord,
  sessions: readonly PreviewedSession[],
  from: PostureLevel,
  to: PostureLevel,
): readonly FateOfSession[] {
  return sessions.map((session) => {
    const { peerLevel } = session;
    const verdict = judgeSession(accord, session, mostRestrictive(from, peerLevel), mostRestrictive(to, peerLevel));
    const deadlineMs = verdict.kind === 'drain' ? verdict.deadlineMs : 0;
    const fate = verdict.kind === 'keep' && verdict.reattest ? 'reattest' : verdict.kind;
    return { session, fate, deadlineMs };
  });
}
