/**
 * Two sites on one machine, for the demo and the system tests: each a gateway process in a network namespace of its own,
 * joined by a wire (10.77.0.0/24), with a real development trust domain behind it. Behind site-b lies a host with
 * services (10.2.0.10). All of it goes when the lab is disposed, whatever happened in between.
 *
 *     site-a 10.77.0.1 ──wire── 10.77.0.2 site-b 10.2.0.1 ──lan── 10.2.0.10 host
 *         shs… 10.99.0.1 ~~~~~~tunnel~~~~~~ 10.99.0.2
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { federate, startTrustDomain, type TrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { type Running, start } from '../support/processes.ts';
import { DIRECTORY, instanceName, removeLeftovers, removeTraces } from './leftovers.ts';
import { Site, type SiteOptions } from './site.ts';

export interface Lab extends AsyncDisposable {
  readonly directory: string;
  readonly a: Site;
  readonly b: Site;
  /** The host behind site-b. */
  readonly host: Namespace;
  /** Its services; their lines say how connections ended. */
  readonly services: Running;
  readonly domains: { readonly a: TrustDomain; readonly b: TrustDomain };
}

export interface LabOptions {
  /** Seconds until flows of a dead gateway lapse. */
  readonly leaseSeconds?: number;
  /** Of both gateways. */
  readonly svidTtlMs?: number;
}

let labs = 0;

/** Everything stands, the gateways are not started yet. */
export async function createLab(options: LabOptions = {}): Promise<Lab> {
  labs += 1;
  if (labs === 1) await removeLeftovers();
  await using parts = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), `${DIRECTORY}${process.pid}-`));
  parts.defer(() => rm(directory, { recursive: true, force: true }));

  const domains = {
    a: parts.use(await startTrustDomain({ name: 'site-a.test', directory: join(directory, 'ca'), clock: systemClock })),
    b: parts.use(await startTrustDomain({ name: 'site-b.test', directory: join(directory, 'cb'), clock: systemClock })),
  };
  parts.use(federate(domains.a, domains.b));

  const [namespaceA, namespaceB, host] = [
    parts.use(await createNamespace('a')),
    parts.use(await createNamespace('b')),
    parts.use(await createNamespace('host')),
  ];
  await connect(
    { in: namespaceA, name: 'wan', addresses: ['10.77.0.1/24', 'fd77::1/64'] },
    { in: namespaceB, name: 'wan', addresses: ['10.77.0.2/24', 'fd77::2/64'] },
  );
  await connect(
    { in: namespaceB, name: 'lan', addresses: ['10.2.0.1/24'] },
    { in: host, name: 'lan', addresses: ['10.2.0.10/24'] },
  );
  await host.run('ip', ['route', 'add', 'default', 'via', '10.2.0.1']);
  await namespaceB.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
  const program = fileURLToPath(new URL('children/services.ts', import.meta.url));
  const services = start('setpriv', [
    '--pdeathsig',
    'KILL',
    'nsenter',
    `--net=${host.path}`,
    process.execPath,
    program,
    ...Object.values(PORTS).map(String),
  ]);
  parts.use(services);

  const ttl = { x509TtlMs: options.svidTtlMs ?? 600_000 };
  const common: Pick<SiteOptions, 'leaseSeconds'> = { leaseSeconds: options.leaseSeconds ?? 10 };
  const a = new Site({
    ...common,
    instance: instanceName('a', labs),
    namespace: namespaceA,
    directory: join(directory, 'a'),
    domain: domains.a,
    gateway: await domains.a.register({ path: '/gateway', tier: 'master', ...ttl }),
    tunnelAddress: '10.99.0.1/24',
    accord: SITE_A_ACCORD,
    peers: [SITE_B_PEER],
  });
  const b = new Site({
    ...common,
    instance: instanceName('b', labs),
    namespace: namespaceB,
    directory: join(directory, 'b'),
    domain: domains.b,
    gateway: await domains.b.register({ path: '/gateway', tier: 'master', ...ttl }),
    tunnelAddress: '10.99.0.2/24',
    accord: SITE_B_ACCORD,
    peers: [],
  });
  for (const site of [a, b]) {
    parts.defer(() => removeTraces(site.options.instance));
    parts.use(site);
  }
  await services.line(/^serving/);
  const owned = parts.move();
  return { directory, a, b, host, services, domains, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export const GATEWAY_B = 'spiffe://site-b.test/gateway';
/** The host behind site-b; something listens on all of `PORTS` there, granted or not. */
export const HOST = '10.2.0.10';
export const PORTS = { granted: 8080, ungranted: 8081, management: 9443 } as const;
/** Granted, and nothing listens there. */
export const CLOSED_PORT = 8082;

/** The arguments with which somebody of site-a goes to site-b's gateway. */
export const TO_SITE_B = ['--gateway', '10.77.0.2:7843', '--gateway-id', GATEWAY_B] as const;
export const GRANTED_TARGET = ['--target', `tcp://${HOST}:${PORTS.granted}`] as const;

const SITE_B_PEER = {
  name: 'site-b',
  spiffeId: GATEWAY_B,
  address: '10.77.0.2:7843',
  request: {
    capabilities: ['OBSERVE', 'CONNECT'],
    targets: [
      { prefix: '10.2.0.10/32', protocol: 'tcp', port: PORTS.granted },
      { prefix: '10.2.0.10/32', protocol: 'tcp', port: PORTS.management },
      { prefix: '10.2.0.10/32', protocol: 'icmp' },
    ],
  },
};

const HEADING = `apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
`;

/** What site-a lets site-b have behind it, and how it sees the management service there. */
const SITE_A_ACCORD = `${HEADING}id: site-a
levels:
  3: { overlay: { keepaliveSeconds: 9 } }
  2: { overlay: { keepaliveSeconds: 9 } }
  1: { overlay: { keepaliveSeconds: 9 } }
targets:
  - name: console-of-b
    class: management
    prefixes: [10.2.0.10/32]
    protocol: tcp
    ports: [${PORTS.management}]
    allow: [{ identities: any, minimumTier: apprentice }]
advertise:
  - identities: ['spiffe://site-b.test/gateway']
    prefixes: [10.2.0.0/24, 10.99.0.2/32]
tiers:
  ceilings: [{ identity: 'spiffe://site-b.test/**', tier: master }]
`;

const SITE_B_ACCORD = `${HEADING}id: site-b
targets:
  - name: web
    class: ordinary
    prefixes: [10.2.0.10/32]
    protocol: tcp
    ports: [${PORTS.granted}, ${CLOSED_PORT}]
    allow: [{ identities: any, minimumTier: apprentice }]
  - name: ping
    class: ordinary
    prefixes: [10.2.0.10/32]
    protocol: icmp
    allow: [{ identities: any, minimumTier: apprentice }]
  - name: console
    class: management
    prefixes: [10.2.0.10/32]
    protocol: tcp
    ports: [${PORTS.management}]
    allow: [{ identities: any, minimumTier: apprentice }]
advertise:
  - identities: ['spiffe://site-a.test/gateway']
    prefixes: [10.1.0.0/24, 10.99.0.1/32]
tiers:
  ceilings: [{ identity: 'spiffe://site-a.test/**', tier: site_owner }]
`;
