import { matchesSpiffeId, type SpiffeId, type SpiffeIdPattern, trustDomainOf } from '../identity/spiffe-id.ts';
import { TIERS, type Tier } from './model.ts';

/** Ties a tier to the identities a pattern matches: the tier they have, or the most they may have. */
export interface TierRule {
  readonly pattern: SpiffeIdPattern;
  readonly tier: Tier;
}

export interface TierPolicy {
  /** The trust domain of this side; only its identities need no ceiling. */
  readonly trustDomain: string;
  /** Tiers given by configuration. Where several match, the lowest holds: adding a rule never gives more. */
  readonly patterns: readonly TierRule[];
  /** The most that identities may have. Where several match, the lowest holds. */
  readonly ceilings: readonly TierRule[];
}

/**
 * The tier of an identity: the lower of what its token claims and what configuration gives (either alone suffices),
 * capped by the ceilings. Undefined when nothing gives one, and for a federated identity without a ceiling:
 * a foreign issuer writes whatever it likes into `tier`.
 */
export function decideTier(id: SpiffeId, claimed: Tier | undefined, policy: TierPolicy): Tier | undefined {
  const configured = lowestMatching(policy.patterns, id);
  const ceiling = lowestMatching(policy.ceilings, id);
  if (ceiling === undefined && trustDomainOf(id) !== policy.trustDomain) return undefined;
  if (claimed === undefined && configured === undefined) return undefined;
  return lowest([claimed, configured, ceiling]);
}

export function isTier(value: unknown): value is Tier {
  return TIERS.some((tier) => tier === value);
}

function lowestMatching(rules: readonly TierRule[], id: SpiffeId): Tier | undefined {
  return lowest(rules.filter((rule) => matchesSpiffeId(rule.pattern, id)).map((rule) => rule.tier));
}

function lowest(tiers: readonly (Tier | undefined)[]): Tier | undefined {
  return TIERS.find((tier) => tiers.includes(tier));
}
