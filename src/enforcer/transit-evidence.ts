/**
 * Evidence of sessions, as the enforcer needs it: announced before anything of a session is in the kernel, and told of when
 * nothing of it is there any more. `src/evidence/transits.ts` implements it.
 */
import type { Role } from '../../protocol/handshake/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Standing } from './directory.ts';
import type { Admission } from './ports.ts';
import type { StreamsAtEnd } from './stream-totals.ts';

export interface TransitEvidence {
  /**
   * Resolves when the intent is durable. @throws ShellstreamError EVIDENCE_FULL or EVIDENCE_FAILED: then nothing of the session
   * may come to stand.
   */
  announce(admission: Admission, role: Role): Promise<AnnouncedTransit>;
  /** It is about to be taken away: what the kernel counted is read now, and this is the moment of its end. */
  ending(standing: Standing, reason: Reason, byPeer: boolean): EndingTransit;
}

/** Its end is told when both were called, once each. */
export interface EndingTransit {
  /** What its terminator counted. */
  counted(streams: StreamsAtEnd): void;
  /** Nothing of it is left. */
  gone(): void;
}

export interface AnnouncedTransit {
  /** It did not come to stand, and nothing of it is left. */
  failed(reason: Reason): void;
}
