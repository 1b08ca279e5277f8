/**
 * Who may change a governed route, propose a change, or decide on a proposal (REQUIREMENTS P2): by level and tier as the
 * accord's tables say, and by what the change is about. Pure: the verdict, and why.
 */
import type { Prefix, Tier } from '../capability/model.ts';
import { formatPrefix, prefixContains, prefixesOverlap } from '../net/prefix.ts';
import { isAdvertisable } from '../net/special.ts';
import type { Accord } from '../posture/accord.ts';
import { POSTURE_LEVELS, type PostureLevel } from '../posture/level.ts';
import type { Reason } from '../reasons.ts';
import { routeStays } from './by-level.ts';
import {
  type GovernedRoute,
  isTierAtLeast,
  type RouteChange,
  type RouteOwner,
  type RouteSpec,
  routeWords,
} from './route.ts';

export type Verdict =
  | { readonly kind: 'allow' }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly detail: string };

/** A change that the site approved before the emergency, as its configuration names it. */
export interface ApprovedChange {
  readonly action: RouteChange['action'];
  readonly route: RouteSpec;
}

export interface ChangeInput {
  readonly accord: Accord;
  readonly level: PostureLevel;
  /** Who has it carried out. */
  readonly tier: Tier;
  readonly change: RouteChange;
  /** Whose the route will be. */
  readonly owner: RouteOwner;
  readonly preApproved: readonly ApprovedChange[];
  /** What is recorded in its place. */
  readonly standing: GovernedRoute | undefined;
  /** What tunnels lead to now. */
  readonly tunnelled: readonly Prefix[];
}

/** Whether the change may be carried out now. */
export function decideChange(input: ChangeInput): Verdict {
  const { accord, level, tier, change, owner, preApproved, standing, tunnelled } = input;
  const { execute, changes } = accord.levels[level].underlay;
  const given = accord.capabilities.underlay[tier];
  if (POSTURE_LEVELS.every((any) => !given[any].includes('EXECUTE'))) {
    return deny('MODE_NOT_AUTHORISED', `${tier} never executes on the underlay`);
  }
  if (!given[level].includes('EXECUTE') || !isTierAtLeast(tier, execute)) {
    return deny('POSTURE_MODE_NOT_ALLOWED', `${tier} does not execute on the underlay at level ${level}`);
  }
  switch (changes) {
    case 'all':
      break;
    case 'none':
      return deny('POSTURE_MODE_NOT_ALLOWED', `the underlay is frozen at level ${level}`);
    case 'pre-approved-emergency':
      if (preApproved.some((one) => isApproved(one, change))) break;
      return deny('POSTURE_MODE_NOT_ALLOWED', `only changes approved beforehand at level ${level}`);
  }
  // A lower tier that replaces or removes a higher one's route would act with that one's authority.
  if (standing !== undefined && !isTierAtLeast(tier, standing.owner.tier)) {
    return deny('CAPABILITY_NOT_GRANTED', `the route is a ${standing.owner.tier}'s`);
  }
  if (change.action === 'remove') return { kind: 'allow' };
  const refusal = refuseRoute(accord, change, owner, tunnelled);
  if (refusal !== undefined) return refusal;
  if (routeStays(level, { kind: 'underlay', class: change.class, tier: owner.tier }, accord)) return { kind: 'allow' };
  return deny('POSTURE_MODE_NOT_ALLOWED', `no ${change.class} route of ${owner.tier} stands at level ${level}`);
}

/** Whether a proposal, handed in outside a session with a RequestToken, is queued. */
export function decideProposal(accord: Accord, level: PostureLevel, tier: Tier): Verdict {
  if (isTierAtLeast(tier, accord.levels[level].underlay.proposals)) return { kind: 'allow' };
  return deny('POSTURE_MODE_NOT_ALLOWED', `no proposals of ${tier} at level ${level}`);
}

/** Whether this tier may decide on proposals; what an approval sets off passes `decideChange` besides. */
export function decideApproval(tier: Tier): Verdict {
  return isTierAtLeast(tier, 'master') ? { kind: 'allow' } : deny('CAPABILITY_NOT_GRANTED', `${tier} approves nothing`);
}

/** Whether an owner has still what it acts by: whoever was revoked has no tier, and an accord may give less than before. */
export function decideOwner({ subject, tier }: RouteOwner, tierNow: Tier | undefined): Verdict {
  if (tierNow !== undefined && isTierAtLeast(tierNow, tier)) return { kind: 'allow' };
  return deny('TIER_UNKNOWN', `${subject} is no ${tier} here any more`);
}

/** Whether the site still says what a recorded route was given for: its owner's tier now, and the class of its target. */
export function isAuthorisedNow(
  accord: Accord,
  { route, class: targetClass, owner }: GovernedRoute,
  tierNow: Tier | undefined,
): boolean {
  if (decideOwner(owner, tierNow).kind === 'deny') return false;
  return targetClass === 'ordinary' || isClassed(accord, route, targetClass);
}

function refuseRoute(
  accord: Accord,
  { route, class: targetClass }: RouteChange,
  owner: RouteOwner,
  tunnelled: readonly Prefix[],
): Verdict | undefined {
  const { destination, table } = route;
  if (!isAdvertisable(destination)) {
    return deny('PREFIX_NOT_ALLOWED', `${formatPrefix(destination)} is a default route, loopback, or nobody's`);
  }
  if (table === LOCAL_TABLE) return deny('PREFIX_NOT_ALLOWED', 'the table of local addresses is the kernel’s own');
  // A longer prefix beside a tunnel's would lead its packets out in the clear.
  const tunnel = tunnelled.find((prefix) => prefixesOverlap(prefix, destination));
  if (tunnel !== undefined) return deny('PREFIX_OVERLAP', `a tunnel leads to ${formatPrefix(tunnel)}`);
  // A self-declared class would outlast the levels that take ordinary routes away.
  if (targetClass !== 'ordinary' && !isClassed(accord, route, targetClass)) {
    return deny('TARGET_NOT_ALLOWED', `the accord has no ${targetClass} target around ${formatPrefix(destination)}`);
  }
  if (targetClass === 'monitoring' && owner.tier !== 'site_owner') {
    return deny('CAPABILITY_NOT_GRANTED', 'monitoring routes are the site_owner’s');
  }
  return undefined;
}

function isClassed(accord: Accord, { destination }: RouteSpec, targetClass: GovernedRoute['class']): boolean {
  return accord.targets.some(
    (target) => target.class === targetClass && target.prefixes.some((prefix) => prefixContains(prefix, destination)),
  );
}

function isApproved(approved: ApprovedChange, change: RouteChange): boolean {
  return approved.action === change.action && routeWords(approved.route) === routeWords(change.route);
}

function deny(reason: Reason, detail: string): Verdict {
  return { kind: 'deny', reason, detail };
}

const LOCAL_TABLE = 255;
