import type { Standing } from './directory.ts';
import type { Member } from './overlay.ts';

/** A session with a tunnel, as it is kept for the enforcer after this one. */
export interface KeptSession {
  readonly standing: Standing & { readonly member: Member };
  /** SHA-256 of the resume token. */
  readonly resumeHash: Uint8Array;
}
