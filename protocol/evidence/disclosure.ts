/**
 * Who may see which record. The log itself is for everybody and says nothing; a record is for the tiers that answer for
 * what is in it.
 */
import { TIERS, type Tier } from '../capability/model.ts';
import type { ArtifactKind } from './artifact.ts';

const LEAST_TIER: Readonly<Record<ArtifactKind, Tier>> = {
  sessionTransit: 'journeyman',
  networkMutation: 'journeyman',
  postureChange: 'apprentice',
  // Topology, keys and everybody's sessions on one page.
  forensicSnapshot: 'master',
  snapshotPart: 'master',
  consoleUse: 'site_owner',
  enforcementReceipt: 'apprentice',
  holdChange: 'apprentice',
  revocation: 'journeyman',
};

/** @param tier of who asks; undefined: the identity has none. */
export function mayRead(tier: Tier | undefined, kind: ArtifactKind): boolean {
  return tier !== undefined && TIERS.indexOf(tier) >= TIERS.indexOf(LEAST_TIER[kind]);
}
