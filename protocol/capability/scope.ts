/** Which parts of the network an identity may reach, and which it may have behind it, by the accord's site sections. */
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { matchesSpiffeId } from '../identity/spiffe-id.ts';
import { isIpv4Mapped } from '../net/address.ts';
import { isCanonicalPrefix, prefixContains } from '../net/prefix.ts';
import { isAdvertisable } from '../net/special.ts';
import type { Accord, Identities, TargetRule, Who } from '../posture/accord.ts';
import { floorFor } from '../posture/floor.ts';
import { type GrantedTarget, type Prefix, type SessionType, type Target, TIERS, type Tier } from './model.ts';
import type { TierPolicy } from './tier.ts';

/** Who asks, after everything about them was verified. */
export interface Asker {
  readonly identity: SpiffeId;
  readonly tier: Tier;
  readonly type: SessionType;
}

export function isAllowed(who: Who, { identity, tier }: Asker): boolean {
  return TIERS.indexOf(tier) >= TIERS.indexOf(who.minimumTier) && matchesAny(who.identities, identity);
}

/**
 * The asked target with its class and floor, or undefined when no single rule that allows it contains it whole.
 * Where several do, the one whose flows live longest counts: allowances add up.
 */
export function resolveTarget(accord: Accord, asker: Asker, target: Target): GrantedTarget | undefined {
  // An IPv4-mapped destination would be routed by one rule and reached by another.
  if (!isCanonicalPrefix(target.prefix) || isIpv4Mapped(target.prefix.address)) return undefined;
  let best: GrantedTarget | undefined;
  for (const rule of accord.targets) {
    if (!containsTarget(rule, target) || !allowsTarget(rule, asker)) continue;
    const floor = floorFor(asker.type, rule.class);
    if (best === undefined || floor < best.floor) best = { ...target, class: rule.class, floor };
  }
  return best;
}

/**
 * Class and floor of a target that the other end granted to a session of ours, as our own accord knows it: one that it
 * does not name is ordinary. Who may reach it is the other end's to say; its floor holds there beside ours here.
 */
export function targetFloor(accord: Accord, type: SessionType, target: Target): Pick<GrantedTarget, 'class' | 'floor'> {
  let best: Pick<GrantedTarget, 'class' | 'floor'> = { class: 'ordinary', floor: floorFor(type, 'ordinary') };
  for (const rule of accord.targets) {
    const floor = floorFor(type, rule.class);
    if (floor < best.floor && containsTarget(rule, target)) best = { class: rule.class, floor };
  }
  return best;
}

/** How the accord gives tiers, for `decideTier` at a site of this trust domain. */
export function tierPolicyOf({ tiers }: Accord, trustDomain: string): TierPolicy {
  return { trustDomain, patterns: tiers.assigned, ceilings: tiers.ceilings };
}

/** Whether the identity's site may have the prefix behind it. A default route never. */
export function mayAdvertise(accord: Accord, identity: SpiffeId, prefix: Prefix): boolean {
  return (
    isAdvertisable(prefix) &&
    accord.advertise.some(
      (rule) => matchesAny(rule.identities, identity) && rule.prefixes.some((outer) => prefixContains(outer, prefix)),
    )
  );
}

function containsTarget(rule: TargetRule, { prefix, protocol, port }: Target): boolean {
  return (
    rule.protocol === protocol &&
    rule.ports.some(({ from, to }) => from <= port && port <= to) &&
    rule.prefixes.some((outer) => prefixContains(outer, prefix))
  );
}

function allowsTarget(rule: TargetRule, asker: Asker): boolean {
  return rule.allow.some((who) => isAllowed(who, asker) && (who.types?.includes(asker.type) ?? true));
}

function matchesAny(identities: Identities, identity: SpiffeId): boolean {
  return identities === 'any' || identities.some((pattern) => matchesSpiffeId(pattern, identity));
}
