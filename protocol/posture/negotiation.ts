import { mostRestrictive, type PostureLevel } from './level.ts';

/** Whose level set the effective one; `both` when they are equal. */
export type Governor = 'both' | 'initiator' | 'responder';

export interface Negotiated {
  readonly effective: PostureLevel;
  readonly governedBy: Governor;
}

/** The level that governs one session, and only that session: the more restrictive of its two ends' (S3). */
export function negotiate(ends: { readonly initiator: PostureLevel; readonly responder: PostureLevel }): Negotiated {
  const { initiator, responder } = ends;
  const effective = mostRestrictive(initiator, responder);
  if (initiator === responder) return { effective, governedBy: 'both' };
  return { effective, governedBy: initiator < responder ? 'initiator' : 'responder' };
}
