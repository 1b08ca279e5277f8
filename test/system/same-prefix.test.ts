/** Two sites that have the same addresses behind them: each has a prefix of its own in the tunnel, host for host. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { Site } from '../lab/site.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { UDP } from '../support/pcap.ts';

/** Behind both sites, at the very same address. */
const INSIDE = '192.168.77';
const EXTERNAL = { a: '10.101.0', b: '10.102.0' } as const;

/**
 *     client 192.168.77.10 ── site-a 10.101.0.0/24 ~~tunnel~~ 10.102.0.0/24 site-b ── host 192.168.77.10
 */
labSuite('the same prefix at two sites', { start: false }, (lab) => {
  const parts = new AsyncDisposableStack();
  let sites: { readonly a: Site; readonly b: Site };
  let hosts: { readonly a: Namespace; readonly b: Namespace };

  beforeAll(async () => {
    const { a, b, host } = lab();
    const client = parts.use(await createNamespace('client'));
    await connect(
      { in: a.namespace, name: 'lan', addresses: [`${INSIDE}.1/24`] },
      { in: client, name: 'lan', addresses: [`${INSIDE}.10/24`] },
    );
    await client.run('ip', ['route', 'add', 'default', 'via', `${INSIDE}.1`]);
    await a.namespace.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    await b.namespace.run('ip', ['address', 'add', `${INSIDE}.1/24`, 'dev', 'lan']);
    await host.run('ip', ['address', 'add', `${INSIDE}.10/24`, 'dev', 'lan']);
    await host.run('ip', ['route', 'replace', 'default', 'via', `${INSIDE}.1`]);
    const services = client.startNode('test/lab/children/services.ts', [
      String(PORTS.granted),
      String(PORTS.ungranted),
    ]);
    await services.line(/^serving/);
    hosts = { a: client, b: host };
    sites = {
      a: parts.use(new Site({ ...a.options, accord: accordOf('a', 'b') })),
      b: parts.use(new Site({ ...b.options, accord: accordOf('b', 'a') })),
    };
  });

  afterAll(() => parts.disposeAsync());

  const greeting = async (from: 'a' | 'b', to: 'a' | 'b', port: number): Promise<string | undefined> => {
    const command = ['-w1', '-N', `${EXTERNAL[to]}.10`, String(port)];
    const { code, stdout } = await hosts[from].attempt('nc', command, { input: '' });
    return code === 0 && stdout !== '' ? stdout.trim() : undefined;
  };
  const pings = async (from: 'a' | 'b', to: 'a' | 'b'): Promise<boolean> =>
    (await hosts[from].attempt('ping', ['-c1', '-W2', '-s', '1392', `${EXTERNAL[to]}.10`])).code === 0;

  /** Bytes that came of a file: segments as large as both kernels make them. */
  const download = async (from: 'a' | 'b', to: 'a' | 'b'): Promise<number> => {
    const server = hosts[to].start('sh', ['-c', `head -c ${FILE_BYTES} /dev/zero | nc -n -v -N -l ${FILE_PORT}`]);
    await server.line(/Listening/i);
    const command = `nc -n -w5 -d ${EXTERNAL[to]}.10 ${FILE_PORT} | wc -c`;
    return Number((await hosts[from].run('sh', ['-c', command])).stdout);
  };

  test.each([
    ['a', 'b'],
    ['b', 'a'],
  ] as const)(
    'from site-%s to site-%s: TCP and ping, and none of the shared addresses in the tunnel',
    async (from, to) => {
      await Promise.all([sites.a.stop(), sites.b.stop()]);
      await Promise.all([sites[to].start(configOf(to)), sites[from].start(configOf(from, to))]);
      const file = join(lab().directory, `same-prefix-${from}.pcap`);
      await using tunnel = await Capture.start(sites[to].namespace, sites[to].interfaceName, file);
      const reach = () => greeting(from, to, PORTS.granted);
      expect(await eventually('the other site', reach, { withinMs: 60_000 })).toBe(`hello ${PORTS.granted}`);
      await eventually('an answer to ping', () => pings(from, to));
      expect(await greeting(from, to, PORTS.ungranted)).toBeUndefined();
      expect(await download(from, to)).toBe(FILE_BYTES);
      const seen = (await tunnel.packets()).flatMap(({ ip }) => (ip === undefined ? [] : [ip.source, ip.destination]));
      expect([...new Set(seen)].sort()).toEqual([`${EXTERNAL.a}.10`, `${EXTERNAL.b}.10`]);
    },
  );

  test('at level 1 of either nothing passes', async () => {
    const file = join(lab().directory, 'same-prefix-lockdown.pcap');
    await sites.a.setPosture(1);
    await eventually('no session', async () => (await sites.b.sessions('mesh')).length === 0);
    // The session says that it ends before its tunnel is gone, which may say a last word.
    await eventually('no tunnel', async () => {
      const { code, stdout } = await sites.b.run('wg', 'show', sites.b.interfaceName, 'peers');
      return code === 0 && stdout.trim() === '';
    });
    await using tunnel = await Capture.start(sites.a.namespace, 'wan', file);
    expect(await greeting('b', 'a', PORTS.granted)).toBeUndefined();
    expect(await pings('b', 'a')).toBe(false);
    expect((await tunnel.packets()).filter(({ ip }) => ip?.protocol === UDP)).toEqual([]);
  });
});

const FILE_PORT = 5001;
const FILE_BYTES = 5_000_000;

/** @param to whom it dials; without, it is dialled */
function configOf(own: 'a' | 'b', to?: 'a' | 'b'): object {
  const peers =
    to === undefined
      ? []
      : [
          {
            name: `site-${to}`,
            spiffeId: `spiffe://site-${to}.test/gateway`,
            address: `10.77.0.${to === 'a' ? 1 : 2}:7843`,
            request: {
              capabilities: ['OBSERVE', 'CONNECT'],
              targets: [
                { prefix: `${EXTERNAL[to]}.10/32`, protocol: 'tcp', port: PORTS.granted },
                { prefix: `${EXTERNAL[to]}.10/32`, protocol: 'tcp', port: FILE_PORT },
                { prefix: `${EXTERNAL[to]}.10/32`, protocol: 'icmp' },
              ],
            },
          },
        ];
  return {
    advertise: [`${EXTERNAL[own]}.0/24`],
    mesh: { peers, prefixTranslation: [{ internal: `${INSIDE}.0/24`, external: `${EXTERNAL[own]}.0/24` }] },
  };
}

function accordOf(own: 'a' | 'b', other: 'a' | 'b'): string {
  const gateway = `spiffe://site-${other}.test/gateway`;
  return `apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: site-${own}
targets:
  - name: web
    class: ordinary
    prefixes: [${EXTERNAL[own]}.10/32]
    protocol: tcp
    ports: [${PORTS.granted}, ${FILE_PORT}]
    allow: [{ identities: any, minimumTier: apprentice }]
  - name: ping
    class: ordinary
    prefixes: [${EXTERNAL[own]}.10/32]
    protocol: icmp
    allow: [{ identities: any, minimumTier: apprentice }]
advertise:
  - identities: ['${gateway}']
    prefixes: [${EXTERNAL[other]}.0/24, 10.99.0.${other === 'a' ? 1 : 2}/32]
tiers:
  ceilings: [{ identity: 'spiffe://site-${other}.test/**', tier: master }]
`;
}
