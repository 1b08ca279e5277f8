import { type RouteSpec, routePlace } from '../../protocol/routes/index.ts';
import { interfacePrefix } from '../base/config.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

/**
 * Takes away routes with our mark that no record names, once at the start: a former run left them. Where a tunnel shows that
 * another instance is at work here, they may be its own and stay; the console lists them as unrecorded. Those over a
 * tunnel belong to it, or to one that this run goes on with.
 */
export async function removeStaleRoutes({ config, dataplane, underlay }: EnforcerWorld): Promise<void> {
  const { network }: DataPlane = dataplane;
  const tunnels = (await network.links()).filter(({ name }) => name.startsWith('shs'));
  const ours = interfacePrefix(config.instance);
  if (tunnels.some(({ name }) => name !== config.wireguard.interface && !name.startsWith(ours))) return;
  const recorded = new Set((underlay?.routes.value ?? []).map(({ route }) => routePlace(route)));
  const over = new Set(tunnels.map(({ ifindex }) => ifindex));
  const isStale = ({ ifindex, ...route }: Omit<RouteSpec, 'link'> & { readonly ifindex: number }): boolean =>
    !over.has(ifindex) && !recorded.has(routePlace({ ...route, link: '' }));
  await network.removeRoutes((await network.routes()).filter(isStale));
}
