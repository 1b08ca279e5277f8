/** The floor of a flow: the lowest posture level at which its packets still pass. The kernel compares, nobody asks. */
import type { Capability, Mode, SessionType, TargetClass, Tier } from '../capability/model.ts';
import type { Accord } from './accord.ts';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';

const CLASS_FLOOR = {
  ordinary: 3,
  management: 2,
  incident: 2,
  health: 2,
  monitoring: 1,
} as const satisfies Record<TargetClass, PostureLevel>;

/** The mesh only carries, so what it carries decides; no session of any type outlives level 2. */
const TYPE_FLOOR = {
  management: 2,
  'incident-response': 2,
  'health-monitoring': 2,
  operator: 3,
  workload: 3,
  mesh: 2,
} as const satisfies Record<SessionType, PostureLevel>;

/**
 * The higher of the type's and the target class's: a session that calls itself management lifts no ordinary target.
 * The 1 of monitoring is for static entries outside any session.
 */
export function floorFor(type: SessionType, targetClass: TargetClass): PostureLevel {
  const ofType: PostureLevel = TYPE_FLOOR[type];
  const ofClass: PostureLevel = CLASS_FLOOR[targetClass];
  return ofType > ofClass ? ofType : ofClass;
}

/** The floor of a static entry of this class, which needs no session. */
export function staticFloor(targetClass: TargetClass): PostureLevel {
  return CLASS_FLOOR[targetClass];
}

/** Without this capability a session reaches no target in that mode. */
export const REACHING_CAPABILITY = {
  overlay: 'CONNECT',
  underlay: 'EXECUTE',
} as const satisfies Record<Mode, Capability>;

/**
 * The lowest level at which a tier may still reach targets in a mode; undefined: it never may. A flow's floor is no
 * lower, so that the kernel cuts off at once what the tier loses, however late the session is told.
 */
export function tierFloor(accord: Accord, mode: Mode, tier: Tier): PostureLevel | undefined {
  const given = accord.capabilities[mode][tier];
  return POSTURE_LEVELS.findLast((level) => given[level].includes(REACHING_CAPABILITY[mode]));
}
