/**
 * From a statement that is handed in to the last of 50 gateways that has it on disk and in effect. Each is a process with
 * the gateway's own identity source, feed client and store; they follow one feed over TLS between SVIDs on loopback.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startTrustDomain } from '../../certs-dev/index.ts';
import { testIssuer } from '../../protocol/revocation/fixtures.ts';
import { systemClock as clock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { nodeEd25519 } from '../../src/base/ed25519.ts';
import { silentLogger as log } from '../../src/base/logger.ts';
import { openIdentitySource, SvidVerifier } from '../../src/identity/index.ts';
import { serveRevocationFeed } from '../../src/identity/revocation-feed.ts';
import { openRevocationStore } from '../../src/identity/revocation-store.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import { type Running, start } from '../../test/support/processes.ts';
import type { Bench, Subject } from '../harness.ts';

const GATEWAYS = 50;
const PATIENCE_MS = 300_000;
const PROGRAM = fileURLToPath(new URL('gateway.server.ts', import.meta.url));

export async function openRevocation(): Promise<Bench> {
  return {
    figures: [{ bench: 'revocation', unit: 'ms', ours: { name: 'ours', start: startGateways }, peers: [] }],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function startGateways(): Promise<Subject> {
  await using parts = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-revocation-'));
  parts.defer(() => rm(directory, { recursive: true, force: true }));
  const domain = parts.use(await startTrustDomain({ name: 'bench.test', directory: join(directory, 'ca'), clock }));
  const issuer = testIssuer('spiffe://bench.test/revocation', 1);
  const server = await domain.register({ path: '/gateway/first' });
  const identity = parts.use(openIdentitySource({ socketPath: server.socketPath, clock, random: Math.random }));
  await identity.ready(AbortSignal.timeout(PATIENCE_MS));
  const revocations = new Revocations({
    keys: [issuer],
    localSite: 'bench.test',
    staleMs: 600_000,
    opened: await openRevocationStore(await folder(directory, 'first'), nodeCrypto.sha256),
    ed25519: nodeEd25519,
    clock,
    log,
  });
  const tls = { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
  const address = { host: '127.0.0.1', port: 0 };
  const service = parts.use(await serveRevocationFeed({ tls, revocations, address, accepts: () => true, log }));
  // Heartbeats tell a follower that it is at the end.
  revocations.hear(issuer.heartbeat(0, Math.floor(clock.now())));

  const gateways: Running[] = [];
  for (let n = 0; n < GATEWAYS; n += 1) {
    const entry = await domain.register({ path: `/gateway/${n}` });
    const told = {
      socketPath: entry.socketPath,
      folder: await folder(directory, String(n)),
      port: service.address.port,
      server: server.spiffeId,
      issuer: issuer.issuer,
      publicKey: Buffer.from(issuer.publicKey).toString('base64'),
    };
    gateways.push(
      parts.use(start('setpriv', ['--pdeathsig', 'KILL', process.execPath, PROGRAM, JSON.stringify(told)])),
    );
    // Two cores start so many at a time.
    if (n % 4 === 3) await Promise.all(gateways.slice(-4).map((one) => one.line(/^at 0$/, PATIENCE_MS)));
  }
  await Promise.all(gateways.map((one) => one.line(/^at 0$/, PATIENCE_MS)));

  let number = 0;
  const owned = parts.move();
  return {
    async sample() {
      number += 1;
      const statement = issuer.statement(number, { kind: 'session', session: number.toString(16).padStart(32, '0') });
      const began = performance.now();
      const had = gateways.map((one) => one.line(new RegExp(`^at ${number}$`), PATIENCE_MS));
      await revocations.offer(statement);
      await Promise.all(had);
      return performance.now() - began;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function folder(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(path);
  return path;
}
