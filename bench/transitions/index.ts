/**
 * To 2 and to 1 in turn, and back to 5, on a real gateway, while handshakes arrive, 1,000 streams flow, and tunnels to 1,000
 * sites and 200 governed routes stand in the kernel. 10,000 sessions and as many routes are in `posture/settled`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MAIN_TABLE } from '../../protocol/routes/index.ts';
import type { Site } from '../../test/lab/site.ts';
import { dumpValues } from '../../test/support/bpf-maps.ts';
import type { Bench } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { LOOPBACK_FOR_ALL, startGatewaySite } from '../lib/gateway-site.ts';
import { figuresOf, type Series } from '../lib/series.ts';

const TRANSITIONS = Number(process.env.SHELLSTREAM_BENCH_TRANSITIONS ?? 100);
const ROUTES = 200;
const MEMBERS = 1_000;
/** P9. */
const OVERLAY_MS = 5_000;
const UNDERLAY_MS = 10_000;
const PATIENCE_MS = 30_000;
const LIMIT = 16_000;
const LOAD = fileURLToPath(new URL('load.client.ts', import.meta.url));
const SITES = fileURLToPath(new URL('members.client.ts', import.meta.url));
const MESH = `advertise:
  - { identities: ['spiffe://ours.test/site/*'], prefixes: [10.98.0.0/16] }
`;

/** `missed`: 1 where the contract was not held. */
const NAMES = ['overlay', 'underlay', 'missed'] as const;
type Name = (typeof NAMES)[number];

export async function openTransitions(): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-transitions-'));
  const figures = figuresOf(NAMES, () => changing(directory));
  const bounded = { runs: TRANSITIONS };
  return {
    figures: [
      { bench: 'transitions/overlay', unit: 'ms', ours: figures.overlay, peers: [], bounded },
      { bench: 'transitions/underlay', unit: 'ms', ours: figures.underlay, peers: [], bounded },
      { bench: 'transitions', unit: 'missed', ours: figures.missed, peers: [], bounded },
    ],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

async function changing(directory: string): Promise<Series<Name>> {
  await using stack = new AsyncDisposableStack();
  const { site, startClient } = stack.use(
    await startGatewaySite({
      label: 'moves',
      directory,
      accord: LOOPBACK_FOR_ALL + MESH,
      config: { terminators: { count: 1 }, log: { level: 'info' } },
      limits: { sessions: LIMIT, sessionsPerIdentity: LIMIT },
    }),
  );
  await addRoutes(site);
  const load = await Commanded.ready(startClient(LOAD));
  const members = await Commanded.ready(startClient(SITES, String(MEMBERS)));
  const owned = stack.move();
  let turns = 0;
  return {
    async run() {
      turns += 1;
      const level = turns % 2 === 0 ? 1 : 2;
      await members.command('fill');
      await load.command('fill');
      const begun = process.hrtime.bigint();
      const since = (at: bigint): number => Number(at - begun) / 1e6;
      await site.setPosture(level);
      const underlay = since(process.hrtime.bigint());
      const stands = await whatStands(site);
      const ends = [await load.command('gone'), ...(level === 1 ? [await members.command('gone')] : [])];
      const overlay = Math.max(underlay, ...ends.map((end) => since(BigInt(end))));
      const kept = level === 1 ? 0 : MEMBERS;
      const isHeld = stands === `posture ${level}, sessions 0, sites ${kept}, peers ${kept}, routes 0`;
      if (!isHeld) process.stderr.write(`transition ${turns} to ${level}: ${stands}\n`);
      await site.setPosture(5);
      await until(async () => (await routesOf(site)) === ROUTES);
      return { overlay, underlay, missed: isHeld && overlay <= OVERLAY_MS && underlay <= UNDERLAY_MS ? 0 : 1 };
    },
    async [Symbol.asyncDispose]() {
      process.stderr.write(`${await load.command('arrived')} handshakes were granted meanwhile\n`);
      await owned.disposeAsync();
    },
  };
}

/** Ordinary ones: all of them go at 2 and at 1. */
async function addRoutes(site: Site): Promise<void> {
  for (const end of ['up0', 'up1']) {
    if (end === 'up0') await site.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1');
    await site.run('ip', 'link', 'set', end, 'up');
  }
  using console = await site.console();
  for (let n = 0; n < ROUTES; n += 1) {
    const destination = { address: Uint8Array.of(10, 200 + (n >> 8), n & 0xff, 0), length: 24 };
    const route = { destination, link: 'up0', table: MAIN_TABLE, gateway: undefined, metric: undefined };
    await console.underlay.change({ action: 'add', route, class: 'ordinary', reason: 'bench' });
  }
}

/** In the kernel and at the console, after the console said that the level is reached. */
async function whatStands(site: Site): Promise<string> {
  const [, own] = await site.postureInKernel();
  const sessions = (await site.sessions('operator')).length;
  const sites = (await site.sessions('mesh')).length;
  const slots = await dumpValues(`${site.pins}/session_state`);
  const peers = [...slots.values()].filter((slot) => slot.some((byte) => byte !== 0)).length;
  return `posture ${own}, sessions ${sessions}, sites ${sites}, peers ${peers}, routes ${await routesOf(site)}`;
}

async function routesOf(site: Site): Promise<number> {
  const { stdout } = await site.run('ip', '-4', 'route', 'show', 'table', 'all', 'dev', 'up0', 'proto', '83');
  return stdout.split('\n').filter((line) => line !== '').length;
}

async function until(check: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await check())) if (performance.now() > deadline) throw new Error('level 5 did not come back');
}
