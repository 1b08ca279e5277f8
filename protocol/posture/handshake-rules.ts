/**
 * What a level asks of handshakes (P3). Without an accord: what the requirements ask of every site; an accord may
 * only ask for more, so whoever holds one passes it.
 */
import { CRITICAL_TYPES, type SessionType, TIERS, type Tier } from '../capability/model.ts';
import type { Accord } from './accord.ts';
import type { PostureLevel } from './level.ts';

/** Whether any session with another host may open. */
export function remoteHandshakeAllowed(level: PostureLevel, accord?: Accord): boolean {
  return level > 1 && accord?.levels[level].handshake.remote !== 'refused';
}

/** Whether the SAT must be minted for this very handshake. */
export function freshSatRequired(level: PostureLevel, accord?: Accord): boolean {
  return level <= 3 || accord?.levels[level].handshake.sat === 'fresh';
}

/** Whether sessions of a type may open; the mesh is no critical type, but carries them and is kept at 2. */
export function typeAllowed(level: PostureLevel, type: SessionType, accord?: Accord): boolean {
  if (!remoteHandshakeAllowed(level, accord)) return false;
  if (level === 2 && type !== 'mesh' && !CRITICAL_TYPES.has(type)) return false;
  return accord === undefined || accord.levels[level].handshake.types.includes(type);
}

/** Whether a proposal handed in outside a session, with its own RequestToken, is queued (P2). */
export function proposalAccepted(accord: Accord, level: PostureLevel, tier: Tier): boolean {
  const lowest = accord.levels[level].underlay.proposals;
  return lowest !== 'nobody' && TIERS.indexOf(tier) >= TIERS.indexOf(lowest);
}
