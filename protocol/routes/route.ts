/** A governed route as people and records name it: by its link's name, since link numbers do not outlive a reboot. */
import { type Prefix, type TargetClass, TIERS, type Tier } from '../capability/model.ts';
import { formatAddress } from '../net/address.ts';
import { formatPrefix } from '../net/prefix.ts';

export interface RouteSpec {
  readonly destination: Prefix;
  /** Name of the interface. */
  readonly link: string;
  /** 4 or 16 bytes, of the destination's family. */
  readonly gateway?: Uint8Array | undefined;
  /** 254 is main. */
  readonly table: number;
  /** Undefined: the kernel's default. */
  readonly metric?: number | undefined;
}

/** Whose a route is, and the tier that it was given under. `uid:N` for a user of this host, else a SPIFFE ID. */
export interface RouteOwner {
  readonly subject: string;
  readonly tier: Tier;
}

/** A route of the underlay that an authorised change put there. */
export interface GovernedRoute {
  readonly route: RouteSpec;
  readonly class: TargetClass;
  readonly owner: RouteOwner;
}

export const ROUTE_ACTIONS = ['add', 'remove'] as const;
export type RouteAction = (typeof ROUTE_ACTIONS)[number];

/** The mutation of the underlay that there is: one route is put there, or taken away. */
export interface RouteChange {
  readonly action: RouteAction;
  readonly route: RouteSpec;
  /** What the route leads to. Of a removal it says nothing. */
  readonly class: TargetClass;
  readonly reason: string;
}

export const MAIN_TABLE = 254;
const IPV6_DEFAULT_METRIC = 1024;

/** Equal for routes of which a table holds one. */
export function routePlace(route: RouteSpec): string {
  const known = REMEMBERED.get(route);
  if (known !== undefined) return known.place;
  const { destination, table, metric } = route;
  const usual = destination.address.length === 16 ? IPV6_DEFAULT_METRIC : 0;
  return `${formatPrefix(destination)} table ${table} metric ${metric === usual ? 0 : (metric ?? 0)}`;
}

/** Equal for routes equal in every field. */
export function routeWords(route: RouteSpec): string {
  const known = REMEMBERED.get(route);
  if (known !== undefined) return known.words;
  const via = route.gateway === undefined ? '' : ` via ${formatAddress(route.gateway)}`;
  return `${routePlace(route)}${via} dev ${route.link}`;
}

/** For one that stays: ten thousand recorded ones are compared with the kernel's at every change of level. */
export function rememberRoute(route: RouteSpec): void {
  REMEMBERED.set(route, { place: routePlace(route), words: routeWords(route) });
}

const REMEMBERED = new WeakMap<RouteSpec, { readonly place: string; readonly words: string }>();

/** Each tier has what the lower ones have; nobody has `nobody`. */
export function isTierAtLeast(tier: Tier, least: Tier | 'nobody'): boolean {
  return least !== 'nobody' && TIERS.indexOf(tier) >= TIERS.indexOf(least);
}
