import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Site } from '../../test/lab/site.ts';
import { createNamespace } from '../../test/support/namespaces.ts';
import type { Running } from '../../test/support/processes.ts';

/** The real gateway in a namespace of its own, all its processes, and whoever loads it. */
export interface GatewaySite extends AsyncDisposable {
  /** The process that all others of the gateway are children of. */
  readonly pid: number;
  /** Its console, its maps, its namespace. */
  readonly site: Site;
  /** A script of ours beside it, with what `Operator.fromArguments` wants and `more` behind that. */
  startClient(script: string, ...more: readonly string[]): Running;
}

export interface GatewaySiteOptions {
  readonly label: string;
  readonly directory: string;
  /** YAML behind the accord's heading. */
  readonly accord?: string;
  readonly config?: object;
  readonly limits?: object;
  /** Before the gateway starts: what it shall find. */
  readonly prepare?: (site: Site) => Promise<void>;
}

/** For `accord`: any port on loopback, for anybody. */
export const LOOPBACK_FOR_ALL = `targets:
  - name: loopback
    class: ordinary
    prefixes: [127.0.0.1/32]
    protocol: tcp
    ports: [1-65535]
    allow: [{ identities: any, minimumTier: apprentice }]
`;

const PORT = 7843;
const MANY = 10_000;
const HEADING = `apiVersion: shellstream.accord/v1
extends: default
id: bench
serial: 1
signer: none
minimumVersion: 1
`;

let sites = 0;

export async function startGatewaySite(options: GatewaySiteOptions): Promise<GatewaySite> {
  await using stack = new AsyncDisposableStack();
  sites += 1;
  const { directory } = options;
  const domain = stack.use(await startTrustDomain({ name: 'ours.test', directory, clock: systemClock }));
  const namespace = stack.use(await createNamespace(`bench-${options.label}`));
  const own = await domain.register({ path: '/gateway' });
  const site = new Site({
    instance: `b${sites.toString(36)}${process.pid.toString(36)}`,
    namespace,
    directory: join(directory, 'site'),
    domain,
    gateway: own,
    tunnelAddress: '10.99.0.1/24',
    accord: HEADING + (options.accord ?? ''),
    peers: [],
    leaseSeconds: 10,
  });
  stack.defer(() => rm(site.pins, { recursive: true, force: true }));
  stack.use(site);
  await options.prepare?.(site);
  // One client stands for many: it must not run into what bounds a single one.
  await site.start({
    listen: { address: '127.0.0.1', port: PORT },
    limits: {
      perPrefixRate: { perSecond: MANY, burst: MANY },
      handshakeBudget: { millisecondsPerSecond: MANY },
      ...options.limits,
    },
    ...options.config,
  });
  const owned = stack.move();
  return {
    pid: site.gateway.pid,
    site,
    startClient(script, ...more) {
      const child = site.inside(process.execPath, [
        script,
        domain.name,
        directory,
        own.spiffeId,
        `ws://127.0.0.1:${PORT}`,
        ...more,
      ]);
      owned.use(child);
      return child;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
