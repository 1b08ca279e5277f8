/**
 * From what is recorded and what the kernel has, to what is to be added and removed, and what differs.
 * Only routes that are authorised now are ever added; what is not recorded is another's and stays as it is.
 */
import { type RouteSpec, routePlace, routeWords } from './route.ts';

export interface RecordedRoute {
  readonly route: RouteSpec;
  /** Whether the level leaves it. */
  readonly stays: boolean;
  /** Whether its owner may still have it. */
  readonly authorised: boolean;
  /** Whether a tunnel leads to all of its addresses: beside that one’s route their packets would leave in the clear. */
  readonly tunnelled: boolean;
}

export interface RouteScene {
  readonly recorded: readonly RecordedRoute[];
  /**
   * `routeWords` of those that do not come back by themselves: the snapshot does not have them, for somebody had taken them
   * away before it, or they made way for a tunnel.
   */
  readonly drifted: ReadonlySet<string>;
  /** Ours by protocol number, on links that are no tunnels. */
  readonly live: readonly RouteSpec[];
}

/**
 * `tunnelled`: a tunnel leads there now, so it goes. `drifted`: somebody had taken it away before the snapshot, or it made
 * way for a tunnel that is gone, so it is not put back. `changed`: another way leads there than is recorded. `unrecorded`:
 * of another instance, or of nobody. The last two are of the reading back.
 */
export const DIFFERENCE_KINDS = [
  'not-authorised',
  'tunnelled',
  'drifted',
  'changed',
  'unrecorded',
  'not-added',
  'not-removed',
] as const;
export type DifferenceKind = (typeof DIFFERENCE_KINDS)[number];

export interface RouteDifference {
  readonly kind: DifferenceKind;
  readonly route: RouteSpec;
}

export interface RoutePlan {
  readonly add: readonly RouteSpec[];
  readonly remove: readonly RouteSpec[];
  readonly differences: readonly RouteDifference[];
}

export function planRoutes({ recorded, drifted, live }: RouteScene): RoutePlan {
  const lives = byPlace(live);
  const places = new Set<string>();
  const add: RouteSpec[] = [];
  const remove: RouteSpec[] = [];
  const differences: RouteDifference[] = [];
  for (const { route, stays, authorised, tunnelled } of recorded) {
    const place = routePlace(route);
    places.add(place);
    const found = lives.get(place);
    const isThere = found !== undefined && isSameWay(found, route);
    if (found !== undefined && !isThere) differences.push({ kind: 'changed', route: found });
    const hasDrifted = !isThere && drifted.has(routeWords(route));
    if (!authorised) differences.push({ kind: 'not-authorised', route });
    else if (stays && tunnelled) differences.push({ kind: 'tunnelled', route });
    else if (stays && hasDrifted) differences.push({ kind: 'drifted', route });
    if (!(stays && authorised) || tunnelled) {
      if (found !== undefined) remove.push(isThere ? route : found);
    } else if (!isThere && !hasDrifted) {
      add.push(route);
    }
  }
  for (const [place, route] of lives) if (!places.has(place)) differences.push({ kind: 'unrecorded', route });
  return { add, remove, differences };
}

/** Those of the recorded that the kernel has, as they are recorded. */
export function thoseThere(recorded: readonly RouteSpec[], live: readonly RouteSpec[]): readonly RouteSpec[] {
  const lives = byPlace(live);
  return recorded.filter((route) => {
    const found = lives.get(routePlace(route));
    return found !== undefined && isSameWay(found, route);
  });
}

/** What the kernel has after the plan was carried out, against what it should have. */
export function readBack({ add, remove }: RoutePlan, live: readonly RouteSpec[]): readonly RouteDifference[] {
  const words = new Set(live.map(routeWords));
  return [
    ...add.filter((route) => !words.has(routeWords(route))).map((route) => ({ kind: 'not-added', route }) as const),
    ...(words.size === 0 ? [] : remove.filter((route) => words.has(routeWords(route)))).map(
      (route) => ({ kind: 'not-removed', route }) as const,
    ),
  ];
}

function byPlace(routes: readonly RouteSpec[]): ReadonlyMap<string, RouteSpec> {
  return new Map(routes.map((route) => [routePlace(route), route]));
}

/** Of two in one place. */
function isSameWay(one: RouteSpec, other: RouteSpec): boolean {
  const [via, otherVia] = [one.gateway, other.gateway];
  if (via === undefined || otherVia === undefined) return via === otherVia && one.link === other.link;
  return one.link === other.link && via.length === otherVia.length && via.every((byte, at) => byte === otherVia[at]);
}
