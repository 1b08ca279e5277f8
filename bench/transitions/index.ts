/**
 * To 2 and to 1 in turn, and back to 5, on a real gateway with 10,000 governed routes in the kernel, tunnels to 1,000 sites and
 * as many sessions as are asked for, while handshakes arrive and 1,000 streams flow. Beside the figures each turn says on
 * stderr when its parts were through. Without terminators, in one process, it is `posture/settled`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Site } from '../../test/lab/site.ts';
import { cpuMicroseconds } from '../cpu.ts';
import type { Bench } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { type GatewaySite, LOOPBACK_FOR_ALL, startGatewaySite } from '../lib/gateway-site.ts';
import { figuresOf, type Series } from '../lib/series.ts';
import { whenPageSays } from './page.ts';
import { recordRoutes } from './routes.ts';
import {
  endsInLog,
  expectStanding,
  restored,
  type Scale,
  setLevel,
  whatStands,
  whenTunnelsAreGone,
} from './what-stands.ts';

const TRANSITIONS = Number(process.env.SHELLSTREAM_BENCH_TRANSITIONS ?? 100);
/** Each turn ends all of them, and has to have as many granted anew: of 10,000 that is most of its time. */
const SESSIONS = Number(process.env.SHELLSTREAM_BENCH_SESSIONS ?? 200);
/** The gateway has the processors to itself from the word until the level is reached, as if clients had their own machines. */
const ALONE = process.env.SHELLSTREAM_BENCH_CLIENTS === 'stopped';
const SCALE: Scale = { sessions: SESSIONS, sites: 1_000, routes: 10_000 };
const LOADS = 2;
/** Until clients have read what they were asked. */
const READ_MS = 500;
const FLOWING = 50;
const STREAMS_EACH = 20;
/** A load is asked for so many at a time, that one answer comes while there is patience for it. */
const PIECE = 500;
/** P9. */
const OVERLAY_MS = 5_000;
const UNDERLAY_MS = 10_000;
const LIMIT = 16_000;
const LOAD = fileURLToPath(new URL('load.client.ts', import.meta.url));
const SITES = fileURLToPath(new URL('members.client.ts', import.meta.url));
const MESH = `advertise:
  - { identities: ['spiffe://ours.test/site/*'], prefixes: [10.98.0.0/16] }
`;

/**
 * From the word: `page`: the governance page says it. `overlay`: the last of the operators' sessions has ended at its other
 * end, and at 1 the last site has heard its end too and no tunnel stands in the kernel. `underlay`: the console says that the
 * level is reached, which is behind the last route. `missed`: 1 where the contract was not held, or where at 2 a site that
 * attests again came too late to keep its session. Clients that are stopped hear of no end in time: `overlay` is then when no
 * tunnel stands in the kernel, at 2 the whole change.
 */
const TIMES = ['page', 'overlay', 'underlay'] as const;
type Name = (typeof TIMES)[number] | 'missed';

export async function openTransitions(): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-transitions-'));
  const figures = figuresOf<Name>([...TIMES, 'missed'], () => changing(directory));
  const bounded = { runs: TRANSITIONS };
  const inTime = TIMES.map((name) => {
    return { bench: `transitions/${name}`, unit: 'ms', ours: figures[name], peers: [], bounded };
  });
  return {
    figures: [...inTime, { bench: 'transitions', unit: 'missed', ours: figures.missed, peers: [], bounded }],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

interface World extends Pick<GatewaySite, 'site' | 'pid'> {
  readonly loads: readonly Commanded[];
  readonly members: Commanded;
}

async function changing(directory: string): Promise<Series<Name>> {
  await using stack = new AsyncDisposableStack();
  const { site, pid, startClient } = stack.use(
    await startGatewaySite({
      label: 'moves',
      directory,
      accord: LOOPBACK_FOR_ALL + MESH,
      config: { terminators: { count: 2 }, log: { level: 'info' } },
      limits: { sessions: LIMIT, sessionsPerIdentity: LIMIT },
      prepare: (prepared) => recordRoutes(prepared, SCALE.routes),
    }),
  );
  const share = [FLOWING / LOADS, STREAMS_EACH].map(String);
  const loads = await Promise.all(Array.from({ length: LOADS }, () => Commanded.ready(startClient(LOAD, ...share))));
  const members = await Commanded.ready(startClient(SITES, String(SCALE.sites)));
  const owned = stack.move();
  let turns = 0;
  return {
    run() {
      turns += 1;
      return turn({ site, pid, loads, members }, turns);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function turn(world: World, number: number): Promise<Readonly<Record<Name, number>>> {
  const { site, pid, loads, members } = world;
  const level = number % 2 === 0 ? 1 : 2;
  const filled = await timed(() => fill(world));
  await expectStanding(site, SCALE);

  const ended = Promise.all(loads.map((load) => load.command('gone')));
  const sitesEnded = level === 1 ? members.command('gone') : undefined;
  const others = ALONE ? [...loads, members] : [];
  if (ALONE) await delay(READ_MS);
  for (const other of others) other.stop();
  const cpuBefore = cpuMicroseconds(pid);
  const begun = process.hrtime.bigint();
  const since = (at: string | bigint): number => Number(BigInt(at) - begun) / 1e6;
  const paged = whenPageSays(site, level);
  const cutOff = level === 1 ? cutOffAt(site, ALONE ? undefined : sitesEnded) : undefined;
  // A process that is stopped hears no order to end.
  await setLevel(site, level).finally(() => {
    for (const other of others) other.goOn();
  });
  const underlay = since(process.hrtime.bigint());
  const sessions = Math.max(...(await ended).map(since));
  const sites = since((await sitesEnded) ?? begun);
  const tunnels = since((await cutOff) ?? begun);
  const cpu = (cpuMicroseconds(pid) - cpuBefore) / 1_000;
  const stands = await whatStands(site);
  const overlay = ALONE ? (level === 1 ? tunnels : underlay) : Math.max(sessions, sites, tunnels);
  const page = since(await paged);

  const kept = level === 1 ? 0 : SCALE.sites;
  const isHeld = stands === `posture ${level}, sessions 0, sites ${kept}, peers ${kept}, routes 0`;
  const { at: renewedAt, lost } = level === 1 ? { at: begun, lost: 0 } : await renewal(members);
  const renewed = since(renewedAt);
  const isWhole = isHeld && lost === 0;
  const inLog = isWhole ? '' : endsInLog(site);
  const missed = isWhole && overlay <= OVERLAY_MS && underlay <= UNDERLAY_MS ? 0 : 1;
  const back = await timed(async () => {
    await setLevel(site, 5);
    await restored(site, SCALE.routes);
  });
  const times = { page, overlay, sessions, sites, tunnels, underlay, renewed, cpu, back, filled };
  const told = Object.entries(times).map(([name, ms]) => `${name} ${ms.toFixed(0)}`);
  const arrived = await Promise.all(loads.map((load) => load.command('arrived')));
  process.stderr.write(
    `transition ${number} to ${level}, ms: ${told.join(', ')}; ${stands}, ${lost} sites lost; ${arrived.join(' + ')} handshakes so far\n`,
  );
  if (inLog !== '') process.stderr.write(`not what stands at ${level}; the log's last ends: ${inLog}\n`);
  return { page, overlay, underlay, missed };
}

/** When no tunnel stands in the kernel any more; not looked at before `first`, since a look takes a core. */
async function cutOffAt(site: Site, first: Promise<string> | undefined): Promise<bigint> {
  await first;
  return await whenTunnelsAreGone(site);
}

/** When, by the host's clock, the last site has attested again, and how many ended instead. */
async function renewal(members: Commanded): Promise<{ readonly at: string; readonly lost: number }> {
  const [at = '', lost] = (await members.command('renewed')).split(' ');
  return { at, lost: Number(lost) };
}

/** What has ended is granted anew: sessions, and after level 1 the sites. */
async function fill({ loads, members }: World): Promise<void> {
  const each = SCALE.sessions / LOADS;
  const load = async (one: Commanded): Promise<void> => {
    for (let upTo = Math.min(PIECE, each); ; upTo = Math.min(upTo + PIECE, each)) {
      await one.command('fill', String(upTo));
      if (upTo === each) return;
    }
  };
  await Promise.all([members.command('fill'), ...loads.map(load)]);
}

async function timed(action: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await action();
  return performance.now() - begun;
}
