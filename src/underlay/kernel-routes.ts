/**
 * Governed routes in the kernel: ours by protocol number, on links that are no tunnels (those of tunnels belong to overlays,
 * this instance's or another's). By link names, as records have them.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { RouteSpec } from '../../protocol/routes/index.ts';
import type { Link, NetworkLinks, Route } from '../dataplane/ports.ts';

export class KernelRoutes {
  readonly #network: Pick<NetworkLinks, 'addRoutes' | 'removeRoutes' | 'routes' | 'links'>;

  constructor(network: Pick<NetworkLinks, 'addRoutes' | 'removeRoutes' | 'routes' | 'links'>) {
    this.#network = network;
  }

  async list(): Promise<readonly RouteSpec[]> {
    const [links, routes] = await Promise.all([this.#network.links(), this.#network.routes()]);
    const names = new Map(links.filter((link) => !isTunnel(link)).map(({ ifindex, name }) => [ifindex, name]));
    return routes.flatMap(({ ifindex, ...route }) => {
      const link = names.get(ifindex);
      return link === undefined ? [] : [{ ...route, link }];
    });
  }

  /** MALFORMED for a link on which no governed route may be. */
  async requireLink({ link }: RouteSpec): Promise<void> {
    const found = (await this.#network.links()).find(({ name }) => name === link);
    if (found === undefined) throw new ShellstreamError('MALFORMED', `there is no link ${link}`);
    // Packets into a tunnel are sessions' alone.
    if (isTunnel(found) || found.loopback)
      throw new ShellstreamError('PREFIX_NOT_ALLOWED', `${link} is no link to others`);
  }

  /**
   * Adds as many as go: one that clashes with another program's keeps no other from its place. What did not go the
   * reading back shows.
   */
  async add(routes: readonly RouteSpec[]): Promise<void> {
    const up = new Map(
      (await this.#network.links()).filter((link) => link.up).map(({ name, ifindex }) => [name, ifindex]),
    );
    const pending = [routes.flatMap((route) => numbered(route, up))];
    for (let calls = 0; calls < MAX_BATCHES; calls += 1) {
      const batch = pending.pop();
      if (batch === undefined) return;
      const isAdded = await this.#network.addRoutes(batch).then(
        () => true,
        () => false,
      );
      if (isAdded || batch.length <= 1) continue;
      const half = Math.ceil(batch.length / 2);
      pending.push(batch.slice(half), batch.slice(0, half));
    }
  }

  async remove(routes: readonly RouteSpec[]): Promise<void> {
    const links = new Map((await this.#network.links()).map(({ name, ifindex }) => [name, ifindex]));
    await this.#network.removeRoutes(routes.flatMap((route) => numbered(route, links)));
  }
}

/** Enough to find a dozen clashes among ten thousand routes. */
const MAX_BATCHES = 512;

function isTunnel({ name }: Link): boolean {
  return name.startsWith('shs');
}

function numbered(
  { link, gateway, metric, ...route }: RouteSpec,
  links: ReadonlyMap<string, number>,
): readonly Route[] {
  const ifindex = links.get(link);
  if (ifindex === undefined) return [];
  return [
    { ...route, ifindex, ...(gateway === undefined ? {} : { gateway }), ...(metric === undefined ? {} : { metric }) },
  ];
}
