/** To level 3 with 1,000 sessions that must drain, on a real gateway with one terminator. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bench } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { LOOPBACK_FOR_ALL, startGatewaySite } from '../lib/gateway-site.ts';
import { figuresOf, type Series } from '../lib/series.ts';

const SESSIONS = 1_000;
const LIMIT = 4_000;
const CLIENT = fileURLToPath(new URL('sessions.client.ts', import.meta.url));

const NAMES = ['finished', 'lost', 'cut', 'last'] as const;
type Name = (typeof NAMES)[number];

export async function openDrain(): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-drain-'));
  const figures = figuresOf(NAMES, () => draining(directory));
  return {
    figures: [
      { bench: 'drain/finished', unit: 'streams', ours: figures.finished, peers: [] },
      { bench: 'drain/lost', unit: 'streams', ours: figures.lost, peers: [], bounded: { runs: 1 } },
      { bench: 'drain/cut', unit: 'streams', ours: figures.cut, peers: [] },
      { bench: 'drain', unit: 'ms', ours: figures.last, peers: [], bounded: { runs: 1 } },
    ],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

async function draining(directory: string): Promise<Series<Name>> {
  await using stack = new AsyncDisposableStack();
  const { site, startClient } = stack.use(
    await startGatewaySite({
      label: 'drain',
      directory,
      accord: LOOPBACK_FOR_ALL,
      config: { terminators: { count: 1 } },
      limits: { sessions: LIMIT, sessionsPerIdentity: LIMIT },
    }),
  );
  const client = await Commanded.ready(startClient(CLIENT));
  const owned = stack.move();
  return {
    async run() {
      await client.command('open', String(SESSIONS));
      const told = process.hrtime.bigint();
      await site.setPosture(3);
      const { finished, lost, cut, lastEnd } = JSON.parse(await client.command('ended'));
      const left = await site.sessions();
      if (left.length > 0) throw new Error(`${left.length} sessions are left at the gateway`);
      await site.setPosture(5);
      return { finished, lost, cut, last: Number(BigInt(lastEnd) - told) / 1e6 };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
