/**
 * The load on our gateway: `run N TAG` opens N sessions, some at once; each attests, is granted, sends one PING, gets its
 * PONG and closes. The identity is fetched once, as a peer that keeps its stream of SVIDs does.
 */
import { createInterface } from 'node:readline';
import { VERSION } from '../../protocol/handshake/index.ts';
import { systemClock as clock } from '../../src/base/clock.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { StreamsOnlyEnforcer } from '../../src/enforcer/streams-only.ts';
import type { Approach } from '../../src/enforcer/terminator-port.ts';
import { SpiffeAttestor } from '../../src/identity/attestor.ts';
import { openIdentitySource, SpireSatVerifier, SvidVerifier } from '../../src/identity/index.ts';
import { dialWebSocket } from '../../src/link/index.ts';
import { attestOver } from '../../src/mesh/dial.ts';
import { Session, type SessionListener } from '../../src/session/session.ts';
import { inParallel } from './server-subject.ts';

const TIMEOUT_MS = 10_000;

const [workloadApi = '', gatewayId = '', url = '', concurrency = ''] = process.argv.slice(2);
const crypto = loadCryptoProvider();
const source = openIdentitySource({ socketPath: workloadApi, clock, random: Math.random });
await source.ready(AbortSignal.timeout(TIMEOUT_MS));
const attestor = new SpiffeAttestor({
  source,
  svids: new SvidVerifier({ bundles: () => source.bundles, clock }),
  sats: new SpireSatVerifier({ source }),
  clock,
});
const posture = { level: 5, epoch: 1n } as const;
const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor, posture });
const handshake = { crypto, staticKey: crypto.x25519Generate() };
const approach: Approach = {
  offer: { versions: [VERSION], sessionType: 'operator', mode: 'overlay' },
  expectedId: gatewayId,
  request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const [, times = '', tag = ''] = line.split(' ');
  inParallel(Number(times), Number(concurrency), session).then(
    () => process.stdout.write(`done ${tag}\n`),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
});
process.stdout.write('ready\n');

async function session(): Promise<void> {
  const link = await dialWebSocket(url, { signal: AbortSignal.timeout(TIMEOUT_MS), timeoutMs: TIMEOUT_MS });
  const attested = await attestOver(link, { clock, enforcer, handshake, timeoutMs: TIMEOUT_MS }, approach);
  const [pong, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const listener: SessionListener = {
    levelChanged: () => undefined,
    drainReceived: () => undefined,
    attestedAgain: () => undefined,
    roundTrip: () => pong.resolve(),
    ended: (_, reason) => {
      pong.reject(new Error(`the session ended: ${reason}`));
      ended.resolve();
    },
  };
  const limits = { pingMs: 60_000, maxStreams: 1, windowBytes: 65_536 };
  const open = new Session({ clock, enforcer, posture, handshake, ...limits }, link, attested, listener, approach);
  open.ping();
  await pong.promise;
  open.end('CLOSED');
  await ended.promise;
  await open.released();
}
