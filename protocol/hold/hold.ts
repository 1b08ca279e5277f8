/**
 * What makes a hold. A site that goes to level 1 says so in its DRAIN; its anchor then knows the end of the session for
 * what it is, and neither dials nor admits the site until it is told by another way than the one that was cut.
 */
import type { SessionType } from '../capability/model.ts';
import { toHex, utf8 } from '../evidence/bytes.ts';
import type { Sha256 } from '../evidence/merkle.ts';
import { type SpiffeId, trustDomainOf } from '../identity/spiffe-id.ts';
import { LOCKDOWN, type PostureLevel } from '../posture/level.ts';
import type { Reason } from '../reasons.ts';

/** `record`: what was held before cannot be read any more. */
export const HOLD_CAUSES = ['drain', 'console', 'record'] as const;
export type HoldCause = (typeof HOLD_CAUSES)[number];

export interface Hold {
  /** 32 hex digits. */
  readonly id: string;
  /** The mesh identity of the site that is held. */
  readonly peer: SpiffeId;
  /** Whose hold it is. */
  readonly anchor: SpiffeId;
  readonly cause: HoldCause;
  /** As the DRAIN said it, in the peer's own count; 0 without one. */
  readonly epoch: bigint;
  /** Wall time, milliseconds. */
  readonly sinceMs: number;
  /** In words, for people. */
  readonly reason: string;
}

/** A DRAIN, with what was attested of the session that it came by. */
export interface ReceivedDrain {
  readonly reason: Reason;
  readonly level: PostureLevel | undefined;
  readonly epoch: bigint;
  readonly sessionType: SessionType;
  /** The peer's epoch as its last attestation told it. */
  readonly attestedEpoch: bigint;
}

/**
 * Whether a DRAIN of a configured mesh identity makes a hold. Attack: a recorded DRAIN of a lockdown that was released is
 * said again; its epoch is not above what the peer attested with since.
 */
export function makesHold({ reason, level, epoch, sessionType, attestedEpoch }: ReceivedDrain): boolean {
  return reason.startsWith('POSTURE_') && level === LOCKDOWN && sessionType === 'mesh' && epoch > attestedEpoch;
}

/** Both ends know all of it, so that the held site can sign its release without asking the anchor. */
export function drainHoldId(sha256: Sha256, peer: string, anchor: string, epoch: bigint): string {
  return toHex(sha256(utf8(`shellstream/1 hold\n${peer}\n${anchor}\n${epoch}\n`)).subarray(0, HOLD_ID_BYTES));
}

/** The whole site is held, whose trust domain it is; of our own trust domain the one identity. */
export function covers({ peer, anchor }: Pick<Hold, 'peer' | 'anchor'>, identity: SpiffeId): boolean {
  if (identity === peer) return true;
  const domain = trustDomainOf(peer);
  return domain !== trustDomainOf(anchor) && domain === trustDomainOf(identity);
}

export const HOLD_ID_BYTES = 16;
