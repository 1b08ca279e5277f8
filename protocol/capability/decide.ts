import type { SpiffeId } from '../identity/spiffe-id.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Accord } from '../posture/accord.ts';
import { REACHING_CAPABILITY, tierFloor } from '../posture/floor.ts';
import { remoteHandshakeAllowed, typeAllowed } from '../posture/handshake-rules.ts';
import { POSTURE_LEVELS, type PostureLevel } from '../posture/level.ts';
import type { Reason } from '../reasons.ts';
import type { Capability, Grant, GrantedTarget, Mode, SessionRequest, SessionType, Target, Tier } from './model.ts';
import { CAPABILITIES } from './model.ts';
import { type Asker, isAllowed, mayAdvertise, resolveTarget } from './scope.ts';

export interface DecisionInput {
  readonly accord: Accord;
  readonly identity: SpiffeId;
  /** Undefined: the identity has none here. */
  readonly tier: Tier | undefined;
  /** The more restrictive of both ends'. */
  readonly level: PostureLevel;
  readonly type: SessionType;
  readonly mode: Mode;
  readonly request: SessionRequest;
}

export type Decision =
  | { readonly kind: 'grant'; readonly grant: Grant }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly detail: string };

/**
 * What a session may do (S4). Capabilities are what was asked for and is given; targets and prefixes are all or
 * nothing, since a scope that shrank silently surprises whoever relies on it. Targets come with a grant only beside the
 * capability that reaches them. A target whose class the level has cut off already is granted with its floor: the
 * kernel lets it pass again when the level rises.
 */
export function decide(input: DecisionInput): Decision {
  const { accord, identity, tier, level, type, mode, request } = input;
  const denial = classDenial(accord, level, type, mode);
  if (denial !== undefined) return denial;
  if (tier === undefined) return deny('TIER_UNKNOWN', identity);
  const asker: Asker = { identity, tier, type };
  if (!accord.sessionTypes[type].allow.some((who) => isAllowed(who, asker))) {
    return deny('TYPE_NOT_AUTHORISED', `${type} for ${tier} ${identity}`);
  }
  const given = accord.capabilities[mode][tier];
  if (POSTURE_LEVELS.every((any) => given[any].length === 0)) {
    return deny('MODE_NOT_AUTHORISED', `${mode} for ${tier}`);
  }
  if (given[level].length === 0) return deny('POSTURE_MODE_NOT_ALLOWED', `${mode} for ${tier} at level ${level}`);
  const capabilities = CAPABILITIES.filter((one) => request.capabilities.includes(one) && given[level].includes(one));
  if (capabilities.length === 0) {
    return deny('NO_CAPABILITY_LEFT', `asked for ${request.capabilities.join(' ')}, given ${given[level].join(' ')}`);
  }

  const targets: GrantedTarget[] = [];
  for (const target of distinct(request.targets, targetText)) {
    const resolved = resolveTarget(accord, asker, target);
    if (resolved === undefined) return deny('TARGET_NOT_ALLOWED', targetText(target));
    targets.push(resolved);
  }
  const reachable = distinct(request.advertise, formatPrefix);
  const foreign = type === 'mesh' ? reachable.find((prefix) => !mayAdvertise(accord, identity, prefix)) : reachable[0];
  if (foreign !== undefined) return deny('PREFIX_NOT_ALLOWED', `${formatPrefix(foreign)} for ${type} of ${identity}`);

  return {
    kind: 'grant',
    grant: {
      mode,
      capabilities,
      targets: reached(targets, capabilities, mode, tierFloor(accord, mode, tier)),
      reachable,
      lifetimeMs: accord.sessionTypes[type].lifetimeMs,
    },
  };
}

/**
 * What can be refused before anybody is known, at ATTEST-VERIFY: by type and mode of message 1 alone. It tells a
 * stranger no more than that this class of session is not open now.
 */
export function classDenial(
  accord: Accord,
  level: PostureLevel,
  type: SessionType,
  mode: Mode,
): Extract<Decision, { kind: 'deny' }> | undefined {
  if (!remoteHandshakeAllowed(level, accord)) return deny('POSTURE_ISOLATED', `level ${level}`);
  if (!typeAllowed(level, type, accord)) return deny('POSTURE_TYPE_NOT_ALLOWED', `${type} at level ${level}`);
  if (!accord.sessionTypes[type].modes.includes(mode)) return deny('MODE_NOT_AUTHORISED', `${mode} for ${type}`);
  return undefined;
}

/**
 * What a local console may do, known by the peer credentials of its socket (S7). At level 1 only a site_owner's, to see
 * and to bring the level back.
 */
export function consoleCapabilities(accord: Accord, tier: Tier, level: PostureLevel): readonly Capability[] {
  if (level === 1) return tier === 'site_owner' ? ['OBSERVE', 'ADMIN'] : [];
  return accord.capabilities.overlay[tier][level];
}

function reached(
  targets: readonly GrantedTarget[],
  capabilities: readonly Capability[],
  mode: Mode,
  lowest: PostureLevel | undefined,
): readonly GrantedTarget[] {
  if (lowest === undefined || !capabilities.includes(REACHING_CAPABILITY[mode])) return [];
  return targets.map((target) => ({ ...target, floor: Math.max(target.floor, lowest) }));
}

function deny(reason: Reason, detail: string): Extract<Decision, { kind: 'deny' }> {
  return { kind: 'deny', reason, detail };
}

function targetText({ prefix, protocol, port }: Target): string {
  return `${formatPrefix(prefix)} protocol ${protocol} port ${port}`;
}

function distinct<T>(items: readonly T[], text: (item: T) => string): readonly T[] {
  return [...new Map(items.map((item) => [text(item), item])).values()];
}
