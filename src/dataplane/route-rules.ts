/** What every driver of links and routes refuses, with DATAPLANE_FAILED, and when two routes are the same. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import { formatPrefix, isCanonicalPrefix } from '../../protocol/net/prefix.ts';
import type { Route } from './ports.ts';

const LARGEST_NUMBER = 2 ** 32 - 1;
const IPV6_DEFAULT_METRIC = 1024;

export function checkRoute(route: Route): void {
  const { destination, ifindex, table, gateway, metric } = route;
  const isSound =
    isCanonicalPrefix(destination) &&
    isNumber(ifindex, 1) &&
    isNumber(table, 1) &&
    isNumber(metric ?? 0, 0) &&
    (gateway === undefined || gateway.length === destination.address.length);
  if (!isSound) throw networkFailed(`not a route: ${routeText(route)}`);
}

/** An address as an interface carries it: host bits stay. */
export function checkInterfaceAddress({ address, length }: Prefix): void {
  const isSound = (address.length === 4 || address.length === 16) && Number.isInteger(length) && length >= 0;
  if (!isSound || length > address.length * 8) throw networkFailed('not an address with a prefix length');
}

/** The kernel's own number when the route names none; undefined where it stands for that. */
export function metricOf({ destination, metric }: Route): number | undefined {
  const usual = destination.address.length === 16 ? IPV6_DEFAULT_METRIC : 0;
  return metric === undefined || metric === 0 || metric === usual ? undefined : metric;
}

/** Equal for routes of which a table holds one: the later replaces the earlier. */
export function routePlace(route: Route): string {
  return `${formatPrefix(route.destination)} table ${route.table} metric ${metricOf(route) ?? 'default'}`;
}

/** Equal for routes equal in every field. */
export function routeText(route: Route): string {
  const via = route.gateway === undefined ? '' : ` via ${formatAddress(route.gateway)}`;
  return `${routePlace(route)}${via} link ${route.ifindex}`;
}

export function networkFailed(detail: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('DATAPLANE_FAILED', detail, cause === undefined ? {} : { cause });
}

function isNumber(value: number, least: number): boolean {
  return Number.isInteger(value) && value >= least && value <= LARGEST_NUMBER;
}
