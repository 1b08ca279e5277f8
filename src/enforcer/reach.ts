/** What packets of a member may reach: the flows and routes that come of its spec, on the overlay's device. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { intersectPrefixes, prefixesEqual } from '../../protocol/net/prefix.ts';
import { MAIN_TABLE } from '../../protocol/routes/index.ts';
import type { FlowRule, Route } from '../dataplane/ports.ts';
import type { MemberSpec, MemberTarget } from './member.ts';

export function flowRules(ifindex: number, { hosted, visited }: MemberSpec): FlowRule[] {
  return [...rules(ifindex, 'in', hosted), ...rules(ifindex, 'out', visited)];
}

function rules(ifindex: number, direction: FlowRule['direction'], targets: readonly MemberTarget[]): FlowRule[] {
  return targets.map(({ prefix, protocol, port, floor }) => ({
    ifindex,
    direction,
    destination: prefix,
    protocol,
    port,
    floor,
  }));
}

export function routesTo(ifindex: number, destinations: readonly Prefix[]): Route[] {
  return destinations.map((destination) => ({ destination, ifindex, table: MAIN_TABLE }));
}

/** What it may have had under any level. */
export function allRoutes(ifindex: number, { prefixes, visited }: MemberSpec): Route[] {
  const narrowed = prefixes.flatMap((prefix) =>
    visited.flatMap((target) => intersectPrefixes(prefix, target.prefix) ?? []),
  );
  return routesTo(ifindex, [...prefixes, ...narrowed]);
}

/** Whether two specs differ in nothing that flows, pins or routes come from. */
export function sameReach(a: MemberSpec, b: MemberSpec): boolean {
  return (
    a.prefixes.length === b.prefixes.length &&
    a.prefixes.every((prefix, i) => matches(prefix, b.prefixes[i])) &&
    sameTargets(a.hosted, b.hosted) &&
    sameTargets(a.visited, b.visited)
  );
}

function sameTargets(a: readonly MemberTarget[], b: readonly MemberTarget[]): boolean {
  return (
    a.length === b.length &&
    a.every((target, i) => {
      const other = b[i];
      return (
        other !== undefined &&
        prefixesEqual(target.prefix, other.prefix) &&
        target.protocol === other.protocol &&
        target.port === other.port &&
        target.floor === other.floor
      );
    })
  );
}

function matches(prefix: Prefix, other: Prefix | undefined): boolean {
  return other !== undefined && prefixesEqual(prefix, other);
}
