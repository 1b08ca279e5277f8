/** Which routes a posture level leaves (REQUIREMENTS P4), as the accord's table says it. */
import { type Prefix, TARGET_CLASSES, type TargetClass, type Tier } from '../capability/model.ts';
import { formatPrefix, intersectPrefixes } from '../net/prefix.ts';
import type { Accord } from '../posture/accord.ts';
import type { PostureLevel } from '../posture/level.ts';
import { isTierAtLeast } from './route.ts';

export type ClassedRoute =
  | { readonly kind: 'overlay'; readonly class: TargetClass }
  | { readonly kind: 'underlay'; readonly class: TargetClass; readonly tier: Tier };

/**
 * Monitoring is the site's own and no workload's: its routes stay when no tier's workload keeps any. That only a
 * site_owner adds one is the gate's to see to.
 */
export function routeStays(level: PostureLevel, route: ClassedRoute, { levels }: Pick<Accord, 'levels'>): boolean {
  const { overlay, underlay, underlayWorkloads } = levels[level].routes;
  switch (route.kind) {
    case 'overlay':
      return overlay.includes(route.class);
    case 'underlay':
      return (
        underlay.includes(route.class) && (route.class === 'monitoring' || isTierAtLeast(route.tier, underlayWorkloads))
      );
  }
}

/** Those of the routes that stay at the level. */
export function routesAt<R extends ClassedRoute>(
  level: PostureLevel,
  routes: readonly R[],
  accord: Pick<Accord, 'levels'>,
): readonly R[] {
  return routes.filter((route) => routeStays(level, route, accord));
}

/** What a mesh session leads to. */
export interface SessionReach {
  /** Behind the peer. */
  readonly prefixes: readonly Prefix[];
  /** Here, for the peer. */
  readonly hosted: readonly ReachedTarget[];
  /** At the peer, for us. */
  readonly visited: readonly ReachedTarget[];
}

interface ReachedTarget {
  readonly prefix: Prefix;
  readonly class?: TargetClass;
}

/**
 * The prefixes of a session that are routed at the level. Where a class is cut off, a prefix shrinks to those of its
 * targets that are left: a route to a whole site would be one to its ordinary hosts too. Where we host the targets, the
 * peer's prefixes are the way of the answers, and stay while any target does.
 */
export function overlayPrefixesAt(
  level: PostureLevel,
  { prefixes, hosted, visited }: SessionReach,
  accord: Pick<Accord, 'levels'>,
): readonly Prefix[] {
  const stays = (of: TargetClass): boolean => routeStays(level, { kind: 'overlay', class: of }, accord);
  if (TARGET_CLASSES.every(stays)) return prefixes;
  const isLeft = (target: ReachedTarget): boolean => stays(target.class ?? 'ordinary');
  if (hosted.some(isLeft)) return prefixes;
  const left = visited.filter(isLeft);
  const routed = prefixes.flatMap((prefix) => left.flatMap((target) => intersectPrefixes(prefix, target.prefix) ?? []));
  return [...new Map(routed.map((prefix) => [formatPrefix(prefix), prefix])).values()];
}
