/** What stands at the site whose level moves: at its console, in the kernel's maps and in its routing tables. */
import { setTimeout as delay } from 'node:timers/promises';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { systemClock } from '../../src/base/clock.ts';
import { type ControlClient, connectControl } from '../../src/control/client.ts';
import type { Site } from '../../test/lab/site.ts';
import { dumpValues } from '../../test/support/bpf-maps.ts';
import { routesInKernel } from './routes.ts';

/** A console that is busy for longer than the contract is a figure, and ends no run. */
const PATIENCE_MS = 60_000;
const POLL_MS = 20;

export interface Scale {
  readonly sessions: number;
  readonly sites: number;
  readonly routes: number;
}

/** Resolves when the console says that the level is reached. */
export async function setLevel(site: Site, level: PostureLevel): Promise<void> {
  using console = await consoleOf(site);
  await console.setPosture({ level, reason: 'bench', forMs: undefined });
}

/** A turn that has less to end would measure something else. */
export async function expectStanding(site: Site, { sessions, sites, routes }: Scale): Promise<void> {
  using console = await consoleOf(site);
  const standing = (await console.status()).counts.sessions;
  const there = await routesInKernel(site);
  if (standing < sessions + sites || there !== routes) throw new Error(`stand: ${standing} sessions, ${there} routes`);
}

/** Once the console said that a level is reached. */
export async function whatStands(site: Site): Promise<string> {
  const [, own] = await site.postureInKernel();
  using console = await consoleOf(site);
  const all = await console.sessions({ state: 'active' });
  const of = (type: string): number => all.filter((session) => session.type === type).length;
  const peers = await tunnelsInKernel(site);
  const routes = await routesInKernel(site);
  return `posture ${own}, sessions ${of('operator')}, sites ${of('mesh')}, peers ${peers}, routes ${routes}`;
}

/** When no tunnel stands in the kernel any more, by the host's clock; some milliseconds late, since a dump takes them. */
export async function whenTunnelsAreGone(site: Site): Promise<bigint> {
  while ((await tunnelsInKernel(site)) > 0) await delay(POLL_MS);
  return process.hrtime.bigint();
}

async function tunnelsInKernel(site: Site): Promise<number> {
  const slots = [...(await dumpValues(`${site.pins}/session_state`)).values()];
  return slots.filter((slot) => slot.some((byte) => byte !== 0)).length;
}

/** Resolves when all of them are there again. */
export async function restored(site: Site, routes: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while ((await routesInKernel(site)) !== routes) {
    if (performance.now() > deadline) throw new Error('level 5 did not come back');
    await delay(POLL_MS);
  }
}

function consoleOf({ socket }: Site): Promise<ControlClient> {
  return connectControl({ path: socket, clock: systemClock, timeoutMs: PATIENCE_MS });
}

/** Why sessions ended, as far back as the gateway's log is at hand: for a turn that left less than it should. */
export function endsInLog({ log }: Site): string {
  const counts = new Map<string, number>();
  for (const [, reason = '', byPeer, detail = '', more = '1'] of log.matchAll(ENDED)) {
    const why = `${reason}${byPeer === 'true' ? ' by the peer' : ''} ${detail}`.trim();
    counts.set(why, (counts.get(why) ?? 0) + Number(more));
  }
  return [...counts].map(([why, count]) => `${count} ${why}`).join(', ');
}

/** Of one session, or of as many as came too fast to be told one by one. */
const ENDED =
  /"reason":"(\w+)","byPeer":(true|false)(?:,"detail":"([^"]*)")?(?:,"count":(\d+))?.*"msg":"(?:session|more sessions) ended"/g;
