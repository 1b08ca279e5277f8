import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Site, SiteOptions } from './site.ts';

/** What of a gateway stands in the kernel and on its sockets, each list sorted. */
export interface Remains {
  /** Tunnels in its namespace. */
  readonly devices: readonly string[];
  /** WireGuard's, of all interfaces of its instance. */
  readonly controlSockets: readonly string[];
  /** Pinned attachments: ifindex and direction. */
  readonly pinnedLinks: readonly string[];
  /** Destinations of protocol 83. */
  readonly ownRoutes: readonly string[];
  /** Destinations of protocol static. */
  readonly foreignRoutes: readonly string[];
}

type Place = Pick<Site, 'run' | 'pins'> & { readonly options: Pick<SiteOptions, 'instance'> };

export async function remainsOf(site: Place): Promise<Remains> {
  const links: { ifname: string }[] = JSON.parse((await site.run('ip', '-j', 'link')).stdout);
  const sockets = await readdir('/var/run/wireguard').catch(() => []);
  return {
    devices: links
      .map(({ ifname }) => ifname)
      .filter((name) => name.startsWith('shs'))
      .sort(),
    controlSockets: sockets.filter((name) => name.startsWith(`shs${site.options.instance}-`)).sort(),
    pinnedLinks: (await readdir(join(site.pins, 'links')).catch(() => [])).sort(),
    ownRoutes: await routes(site, '83'),
    foreignRoutes: await routes(site, 'static'),
  };
}

async function routes(site: Place, protocol: string): Promise<readonly string[]> {
  const all = await Promise.all(
    ['-4', '-6'].map((family) => site.run('ip', '-j', family, 'route', 'show', 'proto', protocol)),
  );
  const parsed: { dst: string }[] = all.flatMap(({ stdout }) => JSON.parse(stdout || '[]'));
  return parsed.map(({ dst }) => dst).sort();
}
