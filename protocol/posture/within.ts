/** Whether one rule of an accord allows nothing that another does not. */
import { TIERS } from '../capability/model.ts';
import type { TierRule } from '../capability/tier.ts';
import type { SpiffeIdPattern } from '../identity/spiffe-id.ts';
import { prefixContains } from '../net/prefix.ts';
import type { AdvertiseRule, Identities, PortRange, TargetAllowance, TargetRule, Who } from './accord.ts';

export function isWhoWithin(who: Who, limit: Who): boolean {
  return areIdentitiesWithin(who.identities, limit.identities) && isTierAtLeast(who, limit);
}

/** The class may stay or become ordinary, whose flows end first. */
export function isTargetWithin(target: TargetRule, limit: TargetRule): boolean {
  return (
    target.protocol === limit.protocol &&
    (target.class === limit.class || target.class === 'ordinary') &&
    target.prefixes.every((prefix) => limit.prefixes.some((outer) => prefixContains(outer, prefix))) &&
    target.ports.every((range) => limit.ports.some((outer) => isRangeWithin(range, outer))) &&
    target.allow.every((allowance) => limit.allow.some((outer) => isAllowanceWithin(allowance, outer)))
  );
}

export function isAdvertiseWithin(rule: AdvertiseRule, limit: AdvertiseRule): boolean {
  return (
    areIdentitiesWithin(rule.identities, limit.identities) &&
    rule.prefixes.every((prefix) => limit.prefixes.some((outer) => prefixContains(outer, prefix)))
  );
}

/** A rule over identities that another rule covers takes away only: of several the lowest tier holds. */
export function isTierRuleWithin(rule: TierRule, limit: TierRule): boolean {
  return isPatternWithin(rule.pattern, limit.pattern);
}

/** Whether every identity that matches `pattern` matches `limit`. */
export function isPatternWithin(pattern: SpiffeIdPattern, limit: SpiffeIdPattern): boolean {
  if (pattern.trustDomain !== limit.trustDomain) return false;
  const open = limit.segments.at(-1) === '**';
  const fixed = open ? limit.segments.slice(0, -1) : limit.segments;
  const fits = fixed.every((part, at) => {
    const own = pattern.segments[at];
    return own !== undefined && own !== '**' && (part === '*' || part === own);
  });
  return fits && (open ? pattern.segments.length > fixed.length : pattern.segments.length === fixed.length);
}

function areIdentitiesWithin(identities: Identities, limit: Identities): boolean {
  if (limit === 'any') return true;
  if (identities === 'any') return false;
  return identities.every((pattern) => limit.some((outer) => isPatternWithin(pattern, outer)));
}

function isTierAtLeast(who: Who, limit: Who): boolean {
  return TIERS.indexOf(who.minimumTier) >= TIERS.indexOf(limit.minimumTier);
}

function isAllowanceWithin(allowance: TargetAllowance, limit: TargetAllowance): boolean {
  if (!isWhoWithin(allowance, limit)) return false;
  if (limit.types === undefined) return true;
  return allowance.types?.every((type) => limit.types?.includes(type)) ?? false;
}

function isRangeWithin(range: PortRange, limit: PortRange): boolean {
  return range.from >= limit.from && range.to <= limit.to;
}
