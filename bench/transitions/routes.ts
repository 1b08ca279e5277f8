/** The governed routes of the site whose level moves. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MAIN_TABLE } from '../../protocol/routes/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import type { RouteRecord } from '../../src/underlay/ports.ts';
import { openUnderlayRecords } from '../../src/underlay/records.ts';
import type { Site } from '../../test/lab/site.ts';
import { destination } from '../routes/workload.ts';

const LINK = 'up0';
/** Of our routes among all others: `proto` of iproute2. */
const PROTOCOL = '83';

/**
 * Recorded as the console's verb records them, and for the gateway to put into the kernel when it starts, as after a reboot.
 * One by one through the console takes as long as there are routes already: each is read back among all of them.
 */
export async function recordRoutes(site: Site, count: number): Promise<void> {
  await site.run('ip', 'link', 'add', LINK, 'type', 'veth', 'peer', 'name', 'up1');
  for (const end of [LINK, 'up1']) await site.run('ip', 'link', 'set', end, 'up');
  const folder = join(site.options.directory, 'state');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { routes } = await openUnderlayRecords(folder, nodeCrypto.sha256);
  await routes.save(Array.from({ length: count }, (_, index) => record(index)));
}

/** What the kernel has of them. */
export async function routesInKernel(site: Site): Promise<number> {
  const { stdout } = await site.run('ip', '-4', 'route', 'show', 'table', 'all', 'dev', LINK, 'proto', PROTOCOL);
  return stdout.split('\n').filter((line) => line !== '').length;
}

/** An ordinary one: all of those go at 2 and at 1. */
function record(index: number): RouteRecord {
  return {
    id: index.toString(16).padStart(32, '0'),
    state: 'standing',
    route: { destination: { address: destination(index), length: 32 }, link: LINK, table: MAIN_TABLE },
    class: 'ordinary',
    owner: { subject: 'uid:0', tier: 'site_owner' },
    reason: 'bench',
    atMs: 0,
  };
}
