/**
 * Homelab to homelab through an anchor. Nobody can dial either of the two: both dial the anchor, one asks it for what the
 * other offers it, and it forwards only what it is told to.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { federate, startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { GATEWAY_B, HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { Site } from '../lab/site.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';

const ANCHOR = 'spiffe://site-c.test/gateway';
const GATEWAY_A = 'spiffe://site-a.test/gateway';
/** Behind site-a. */
const CLIENT = '10.1.0.10';
const HOST6 = 'fd00:2::10';
const BEHIND_A = ['10.1.0.0/24', 'fd00:1::/64'];
const BEHIND_B = ['10.2.0.0/24', 'fd00:2::/64'];

const TARGETS = [
  { prefix: `${HOST}/32`, port: PORTS.granted },
  { prefix: `${HOST6}/128`, port: PORTS.granted },
  { prefix: `${HOST}/32`, port: PORTS.management },
  { prefix: `${HOST}/32`, protocol: 'icmp' },
];
/** Of a homelab: it dials, and nobody reaches its port. */
const UNREACHABLE = { listen: { address: '127.0.0.1' } };
const HOMELAB_A = {
  ...UNREACHABLE,
  advertise: BEHIND_A,
  mesh: { peers: [{ name: 'anchor', spiffeId: ANCHOR, address: '10.78.0.2:7843', request: { targets: TARGETS } }] },
};
const HOMELAB_B = {
  ...UNREACHABLE,
  advertise: BEHIND_B,
  mesh: { peers: [{ name: 'anchor', spiffeId: ANCHOR, address: '10.79.0.1:7843', offer: TARGETS }] },
};

/**
 *     client 10.1.0.10 ── site-a ── 10.78.0.2 anchor 10.79.0.1 ── 10.79.0.2 site-b ── host 10.2.0.10
 */
labSuite('through an anchor', { start: false }, (lab) => {
  const parts = new AsyncDisposableStack();
  let a: Site;
  let b: Site;
  let anchor: Site;
  let client: Namespace;

  const greeting = async (port: number, address = HOST): Promise<string | undefined> => {
    const { code, stdout } = await client.attempt('nc', ['-w1', '-N', address, String(port)], { input: '' });
    return code === 0 && stdout !== '' ? stdout.trim() : undefined;
  };
  const reaches = (port: number, address = HOST): Promise<string> =>
    eventually(`${port} through the anchor`, () => greeting(port, address), { withinMs: 60_000 });
  /** Of the anchor: its sessions' other ends. */
  const peers = async (): Promise<readonly string[]> =>
    (await anchor.sessions('mesh')).map(({ peer }) => /site-./.exec(peer)?.[0] ?? peer).toSorted();
  /** @param toB how the anchor has site-b: who it is, and where if it is the anchor that dials */
  const startAnchor = async (forward: readonly object[], toB: object = {}): Promise<void> => {
    await anchor.start({
      mesh: {
        peers: [
          { name: 'site-a', spiffeId: GATEWAY_A },
          { name: 'site-b', spiffeId: GATEWAY_B, advertise: BEHIND_A, ...toB },
        ],
        forward,
      },
    });
    // A new level has whoever waits dial at once, now that somebody listens.
    if (forward.length > 0) await Promise.all([a, b].map((site) => site.setPosture(4)));
    await eventually('both sessions', async () => (await peers()).join() === 'site-a,site-b', { withinMs: 60_000 });
  };

  beforeAll(async () => {
    const { directory, domains, host } = lab();
    const domain = parts.use(
      await startTrustDomain({ name: 'site-c.test', directory: join(directory, 'cc'), clock: systemClock }),
    );
    parts.use(federate(domain, domains.a));
    parts.use(federate(domain, domains.b));
    const namespace = parts.use(await createNamespace('c'));
    client = parts.use(await createNamespace('client'));
    const [inA, inB] = [lab().a.namespace, lab().b.namespace];
    await connect(
      { in: inA, name: 'uplink', addresses: ['10.78.0.1/24'] },
      { in: namespace, name: 'wan-a', addresses: ['10.78.0.2/24'] },
    );
    await connect(
      { in: namespace, name: 'wan-b', addresses: ['10.79.0.1/24'] },
      { in: inB, name: 'uplink', addresses: ['10.79.0.2/24'] },
    );
    await connect(
      { in: inA, name: 'lan', addresses: ['10.1.0.1/24', 'fd00:1::1/64'] },
      { in: client, name: 'lan', addresses: [`${CLIENT}/24`, 'fd00:1::10/64'] },
    );
    await inB.run('ip', ['address', 'add', 'fd00:2::1/64', 'dev', 'lan', 'nodad']);
    await host.run('ip', ['address', 'add', `${HOST6}/64`, 'dev', 'lan', 'nodad']);
    for (const [inside, by, by6] of [
      [client, '10.1.0.1', 'fd00:1::1'],
      [host, '10.2.0.1', 'fd00:2::1'],
    ] as const) {
      await inside.run('ip', ['route', 'replace', 'default', 'via', by]);
      await inside.run('ip', ['route', 'replace', 'default', 'via', by6]);
    }
    for (const router of [inA, namespace, inB]) {
      await router.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
    }
    const instance = instanceName('c', 1);
    parts.defer(() => removeTraces(instance));
    a = parts.use(new Site({ ...lab().a.options, accord: knowsAnchor(lab().a.options.accord, BEHIND_B) }));
    b = parts.use(new Site({ ...lab().b.options, accord: offersToAnchor(lab().b.options.accord) }));
    anchor = parts.use(
      new Site({
        ...lab().b.options,
        instance,
        namespace,
        directory: join(directory, 'c'),
        domain,
        gateway: await domain.register({ path: '/gateway', tier: 'master', x509TtlMs: 600_000 }),
        tunnelAddress: '10.99.0.3/24',
        accord: anchorAccord(lab().b.options.accord),
      }),
    );
  });

  afterAll(() => parts.disposeAsync());

  test('what is granted to one and offered by the other stays at the anchor unless it is told to forward', async () => {
    await Promise.all([b.start(HOMELAB_B), a.start(HOMELAB_A), startAnchor([])]);
    await using events = anchor.events();
    await using tunnel = await Capture.start(b.namespace, b.interfaceName, join(lab().directory, 'kept.pcap'));
    await eventually('the denial', async () => {
      expect(await greeting(PORTS.granted)).toBeUndefined();
      return events.find('denied', ({ denial }) => denial?.cause === 'NOT_FORWARDED') !== undefined;
    });
    expect((await tunnel.packets()).filter(({ ip }) => ip !== undefined)).toEqual([]);
    // The anchor itself may have what is offered to it.
    const offered = await eventually('what is offered to it', () => anchor.greeting(HOST, PORTS.granted));
    expect(offered).toBe(`hello ${PORTS.granted}`);
  });

  test('told to, it passes through both tunnels what is granted and offered, and nothing else', async () => {
    await anchor.stop();
    await startAnchor([{ from: 'site-a', to: 'site-b' }]);
    await using tunnel = await Capture.start(b.namespace, b.interfaceName, join(lab().directory, 'forwarded.pcap'));
    expect(await reaches(PORTS.granted)).toBe(`hello ${PORTS.granted}`);
    expect(await reaches(PORTS.granted, HOST6)).toBe(`hello ${PORTS.granted}`);
    await eventually('a ping', async () => (await client.attempt('ping', ['-c1', '-W1', HOST])).code === 0);
    expect(await greeting(PORTS.ungranted)).toBeUndefined();
    const sources = (await tunnel.packets()).flatMap(({ ip }) => (ip === undefined ? [] : [ip.source]));
    const inIpv6 = (source: string): boolean => !source.includes('.');
    expect(new Set(sources.filter((source) => !inIpv6(source)))).toEqual(new Set([CLIENT, HOST]));
    expect(new Set(sources.filter(inIpv6)).size).toBe(2);
    // Site-b may not open anything towards site-a, nor the anchor what was not offered.
    expect((await lab().host.attempt('ping', ['-c1', '-W1', CLIENT])).code).not.toBe(0);
    expect(await anchor.greeting(HOST, PORTS.ungranted)).toBeUndefined();
  });

  test('the strictest of the three levels governs it', async () => {
    for (const site of [a, b, anchor]) {
      await site.setPosture(2);
      await eventually(
        'the ordinary target is out of reach',
        async () => (await greeting(PORTS.granted)) === undefined,
      );
      // Sessions attest anew at 2, and their tunnels are without a peer for a moment.
      expect(await reaches(PORTS.management)).toBe(`hello ${PORTS.management}`);
      expect(await greeting(PORTS.granted)).toBeUndefined();
      await site.setPosture(5);
      await reaches(PORTS.granted);
    }
  });

  test('an anchor that dials the other one itself forwards what that grants it', async () => {
    await Promise.all([anchor.stop(), b.stop()]);
    const dials = { address: '10.79.0.2:7843', request: { targets: TARGETS } };
    await b.start();
    await startAnchor([{ from: 'site-a', to: 'site-b' }], dials);
    expect(await reaches(PORTS.granted)).toBe(`hello ${PORTS.granted}`);
    expect(await reaches(PORTS.granted, HOST6)).toBe(`hello ${PORTS.granted}`);
  });

  test('it ends with either session, and the other one stands', async () => {
    await b.setPosture(1);
    await eventually('the session with site-b ended', async () => (await peers()).join() === 'site-a');
    expect(await greeting(PORTS.management)).toBeUndefined();
    expect(await peers()).toEqual(['site-a']);
  });
});

/** A site where the anchor may have the prefixes behind it. */
function knowsAnchor(accord: string, prefixes: readonly string[]): string {
  const behind = [...prefixes, '10.99.0.3/32'].join(', ');
  return accord
    .replace('advertise:\n', `advertise:\n  - identities: ['${ANCHOR}']\n    prefixes: [${behind}]\n`)
    .replace('ceilings: [', "ceilings: [{ identity: 'spiffe://site-c.test/**', tier: master }, ");
}

/** An anchor shows no token when it is dialled: it has the tier that the accord gives it. */
function offersToAnchor(accord: string): string {
  return both(knowsAnchor(accord, BEHIND_A)).replace(
    'tiers:\n',
    `tiers:\n  assigned: [{ identity: '${ANCHOR}', tier: master }]\n`,
  );
}

/** It names site-b's targets as its own, and lets both sites be where they are. */
function anchorAccord(accord: string): string {
  const behindB = [...BEHIND_B, '10.99.0.2/32'].join(', ');
  return both(accord)
    .replace('id: site-b', 'id: site-c')
    .replace('[10.1.0.0/24, ', `[${BEHIND_A.join(', ')}, `)
    .replace('advertise:\n', `advertise:\n  - identities: ['${GATEWAY_B}']\n    prefixes: [${behindB}]\n`)
    .replace('ceilings: [', "ceilings: [{ identity: 'spiffe://site-b.test/**', tier: master }, ");
}

/** The host's address of either family. */
function both(accord: string): string {
  return accord.replaceAll(`[${HOST}/32]`, `[${HOST}/32, ${HOST6}/128]`);
}
