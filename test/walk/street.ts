/** The lab of the walk: a target of each class behind site-b, in both families, and something that monitors site-b. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../lab/lab.ts';
import { GATEWAY_B, HOST, PORTS } from '../lab/lab.ts';
import type { Site } from '../lab/site.ts';
import type { Running } from '../support/processes.ts';
import type { Place } from './crowd.ts';
import type { RouteName, TargetName } from './table.ts';

export const PORT = PORTS.granted;
/** What site-b answers to its monitor, at all levels. */
export const MONITORING_PORT = 9_161;

/** The addresses of each class at the host behind site-b. */
export const TARGETS: Readonly<Record<TargetName, readonly [v4: string, v6: string]>> = {
  ordinary: [HOST, 'fd02::10'],
  management: ['10.2.0.11', 'fd02::11'],
  incident: ['10.2.0.12', 'fd02::12'],
  health: ['10.2.0.13', 'fd02::13'],
};

/** Governed routes of site-b's underlay. */
export const UNDERLAY: Readonly<Record<RouteName, string>> = {
  'of-master': '10.31.0.0/24',
  'of-journeyman': '10.32.0.0/24',
  management: '10.33.0.0/24',
  monitoring: '10.34.0.0/24',
};

/** A route that is approved beforehand. */
export const APPROVED = '10.37.0.0/24';

export function placesOf(name: TargetName): readonly Place[] {
  return TARGETS[name].map((address) => ({ address, port: PORT }));
}

/** Both sites run, and their session stands. */
export async function openStreet({ a, b, host }: Lab): Promise<Running> {
  for (const address of Object.values(TARGETS).flat()) {
    const isIpv6 = address.includes(':');
    const added = isIpv6 ? [`${address}/64`, 'dev', 'lan', 'nodad'] : [`${address}/24`, 'dev', 'lan'];
    if (address !== HOST) await host.run('ip', ['address', 'add', ...added]);
  }
  await b.namespace.run('ip', ['address', 'add', 'fd02::1/64', 'dev', 'lan', 'nodad']);
  await host.run('ip', ['-6', 'route', 'add', 'default', 'via', 'fd02::1']);
  await b.namespace.run('sysctl', ['-qw', 'net.ipv6.conf.all.forwarding=1']);
  const monitored = b.inside(process.execPath, [SERVICES, String(MONITORING_PORT)]);
  await monitored.line(/^serving/);
  await Promise.all([
    b.start({
      accord: await accordOf(b, `${TARGETS_IN_ACCORDS}${DEVICES_IN_ACCORD}${B_ACCORD}`),
      wireguard: { addresses: [b.options.tunnelAddress, 'fd99::2/64'] },
      posture: {
        leaseSeconds: 10,
        allowAtLockdown: [{ interface: 'lan', direction: 'in', remote: HOST, protocol: 'tcp', port: MONITORING_PORT }],
      },
      underlay: { preApproved: [{ action: 'add', prefix: APPROVED, interface: 'lan' }] },
      // They all come from one address, at once.
      limits: {
        perPrefixRate: { perSecond: 10_000, burst: 10_000 },
        handshakeBudget: { millisecondsPerSecond: 10_000, meshPercent: 0 },
      },
    }),
    a.start({
      accord: await accordOf(a, `${TARGETS_IN_ACCORDS}${A_ACCORD}`),
      wireguard: { addresses: [a.options.tunnelAddress, 'fd99::1/64'] },
      mesh: { peers: [PEER] },
    }),
  ]);
  await Promise.all([a, b].map((site) => site.gateway.line(/"msg":"session opened"/)));
  return monitored;
}

const SERVICES = fileURLToPath(new URL('../lab/children/services.ts', import.meta.url));

async function accordOf(site: Site, sections: string): Promise<{ readonly file: string }> {
  const file = join(site.options.directory, 'walk-accord.yaml');
  await mkdir(site.options.directory, { recursive: true });
  await writeFile(file, `${HEADING}id: walk\n${sections}`);
  return { file };
}

const HEADING = `apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
`;

const TARGETS_IN_ACCORDS = `targets:
${Object.entries(TARGETS)
  .map(
    ([name, addresses]) => `  - name: ${name}
    class: ${name}
    prefixes: [${addresses.map((address) => `'${address}'`).join(', ')}]
    protocol: tcp
    ports: [${PORT}]
    allow: [{ identities: any, minimumTier: apprentice }]
`,
  )
  .join('')}`;

/** What routes of the underlay lead to. */
const DEVICES_IN_ACCORD = `  - name: devices
    class: management
    prefixes: [${UNDERLAY.management}, ${APPROVED}]
    protocol: tcp
    ports: [443]
    allow: [{ identities: any, minimumTier: master }]
  - name: snmp
    class: monitoring
    prefixes: [${UNDERLAY.monitoring}]
    protocol: udp
    ports: [161]
    allow: [{ identities: any, minimumTier: master }]
`;

const A_ACCORD = `advertise:
  - identities: ['${GATEWAY_B}']
    prefixes: [10.2.0.0/24, 10.99.0.2/32, 'fd02::/64', 'fd99::2/128']
tiers:
  ceilings: [{ identity: 'spiffe://site-b.test/**', tier: master }]
`;

const B_ACCORD = `advertise:
  - identities: ['spiffe://site-a.test/gateway']
    prefixes: [10.99.0.1/32, 'fd99::1/128']
tiers:
  ceilings: [{ identity: 'spiffe://site-a.test/**', tier: site_owner }]
`;

const PEER = {
  name: 'site-b',
  spiffeId: GATEWAY_B,
  address: '10.77.0.2:7843',
  request: {
    capabilities: ['OBSERVE', 'CONNECT'],
    targets: Object.values(TARGETS).flatMap(([v4, v6]) =>
      [`${v4}/32`, `${v6}/128`].map((prefix) => ({ prefix, protocol: 'tcp', port: PORT })),
    ),
  },
};
