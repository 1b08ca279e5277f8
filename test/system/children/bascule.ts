/**
 * A small Bascule in a namespace, with an identity from a Workload API socket: `bascule.ts SOCKET`. Each line of stdin is
 * a word in JSON (serve, die, say, announce) with its `id`; the answer is `ID OUTCOME` or `ID failed …`.
 */
import { createInterface } from 'node:readline';
import { systemClock } from '../../../src/base/clock.ts';
import { openIdentitySource, SvidVerifier } from '../../../src/identity/index.ts';
import { BasculeServer } from '../../support/bascule-server.ts';

interface Word {
  readonly id: number;
  readonly do: 'serve' | 'die' | 'say' | 'announce';
  readonly port?: number;
  readonly level?: number;
  readonly epoch?: number;
  readonly lifetimeMs?: number;
}

const HOST = '127.0.0.1';
const [socketPath = ''] = process.argv.slice(2);
const clock = systemClock;
const identity = openIdentitySource({ socketPath, clock, random: Math.random });
await identity.ready(AbortSignal.timeout(20_000));
const svids = new SvidVerifier({ bundles: () => identity.bundles, clock });
const server = new BasculeServer({ identity, svids, clock });
console.log(`ready ${identity.current().spiffeId}`);

for await (const line of createInterface({ input: process.stdin })) {
  const word: Word = JSON.parse(line);
  try {
    console.log(`${word.id} ${String(await obey(word))}`);
  } catch (error) {
    console.log(`${word.id} failed ${String(error)}`);
  }
}

async function obey(word: Word): Promise<unknown> {
  const { level = 5, epoch = 0, lifetimeMs, port = 0 } = word;
  const statement = {
    level,
    epoch: BigInt(epoch),
    reason: `Bascule says ${level}`,
    ...(lifetimeMs === undefined ? {} : { lifetimeMs: BigInt(lifetimeMs) }),
  };
  switch (word.do) {
    case 'serve':
      return await server.start(HOST, port);
    case 'die':
      return await server.die();
    case 'say':
      return server.say(statement);
    case 'announce':
      return await server.announce(HOST, port, statement);
  }
}
