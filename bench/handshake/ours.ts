import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Site } from '../../test/lab/site.ts';
import { createNamespace } from '../../test/support/namespaces.ts';
import { cpuMicroseconds } from '../cpu.ts';
import type { Contender } from '../harness.ts';
import type { Identities } from './identities.ts';
import { CONCURRENCY, SESSIONS } from './server-subject.ts';

const PORT = 7843;
const MANY = 10_000;
const ACCORD = `apiVersion: shellstream.accord/v1
extends: default
id: bench
serial: 1
signer: none
minimumVersion: 1
`;

/** The real gateway as a process of its own, with its data plane, and what one attested session costs it. */
export function gateway(identities: Identities): Contender {
  return {
    name: 'ours',
    async start() {
      await using stack = new AsyncDisposableStack();
      const directory = join(identities.directory, 'ours');
      const domain = stack.use(await startTrustDomain({ name: 'ours.test', directory, clock: systemClock }));
      const namespace = stack.use(await createNamespace('bench-gateway'));
      const own = await domain.register({ path: '/gateway' });
      const operator = await domain.register({ path: '/operator', tier: 'master' });
      const site = new Site({
        instance: `bn${process.pid.toString(36)}`,
        namespace,
        directory: join(directory, 'site'),
        domain,
        gateway: own,
        tunnelAddress: '10.99.0.1/24',
        accord: ACCORD,
        peers: [],
        leaseSeconds: 10,
      });
      stack.defer(() => rm(site.pins, { recursive: true, force: true }));
      stack.use(site);
      // One client stands for many: it must not run into what bounds a single one.
      await site.start({
        listen: { address: '127.0.0.1', port: PORT },
        limits: {
          perPrefixRate: { perSecond: MANY, burst: MANY },
          handshakeBudget: { millisecondsPerSecond: MANY, meshPercent: 0 },
        },
      });
      const script = fileURLToPath(new URL('ours.client.ts', import.meta.url));
      const args = [operator.socketPath, own.spiffeId, `ws://127.0.0.1:${PORT}`, String(CONCURRENCY)];
      const client = stack.use(site.inside(process.execPath, [script, ...args]));
      await client.line(/^ready$/);
      const owned = stack.move();
      let samples = 0;
      return {
        async sample() {
          samples += 1;
          const before = cpuMicroseconds(site.gateway.pid);
          client.write(`run ${SESSIONS} ${samples}\n`);
          await client.line(new RegExp(`^done ${samples}$`), 60_000);
          return (cpuMicroseconds(site.gateway.pid) - before) / SESSIONS;
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
