/** Homelab to homelab through an anchor: both have a session with it alone, and it forwards only what it is told to. */
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

/**
 *     client 10.1.0.10 ── site-a ── 10.78.0.2 anchor 10.79.0.1 ── 10.79.0.2 site-b ── host 10.2.0.10
 */
labSuite('through an anchor', { start: false }, (lab) => {
  const parts = new AsyncDisposableStack();
  let a: Site;
  let b: Site;
  let anchor: Site;
  let client: Namespace;

  const request = () => lab().a.options.peers[0];
  const greeting = async (port: number): Promise<string | undefined> => {
    const { code, stdout } = await client.attempt('nc', ['-w1', '-N', HOST, String(port)], { input: '' });
    return code === 0 && stdout !== '' ? stdout.trim() : undefined;
  };
  const reaches = (port: number): Promise<string> =>
    eventually(`${port} through the anchor`, () => greeting(port), { withinMs: 30_000 });
  /** Of the anchor: its sessions' other ends. */
  const peers = async (): Promise<readonly string[]> =>
    (await anchor.sessions('mesh')).map(({ peer }) => /site-./.exec(peer)?.[0] ?? peer).toSorted();
  const startAnchor = async (forward: readonly object[]): Promise<void> => {
    await anchor.start({
      mesh: {
        peers: [
          { name: 'site-a', spiffeId: GATEWAY_A },
          { ...request(), name: 'site-b', spiffeId: GATEWAY_B, address: '10.79.0.2:7843', advertise: ['10.1.0.0/24'] },
        ],
        forward,
      },
    });
    // A new level has site-a dial at once, now that somebody listens.
    if (forward.length > 0) await a.setPosture(4);
    await eventually('both sessions', async () => (await peers()).join() === 'site-a,site-b', { withinMs: 30_000 });
  };

  beforeAll(async () => {
    const { directory, domains } = lab();
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
      { in: inA, name: 'lan', addresses: ['10.1.0.1/24'] },
      { in: client, name: 'lan', addresses: [`${CLIENT}/24`] },
    );
    await client.run('ip', ['route', 'add', 'default', 'via', '10.1.0.1']);
    for (const router of [inA, namespace]) await router.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    const instance = instanceName('c', 1);
    parts.defer(() => removeTraces(instance));
    a = parts.use(new Site({ ...lab().a.options, accord: knowsAnchor(lab().a.options.accord, '10.2.0.0/24') }));
    b = parts.use(new Site({ ...lab().b.options, accord: knowsAnchor(lab().b.options.accord, '10.1.0.0/24') }));
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

  test('what both hops grant stays at the anchor unless it is told to forward', async () => {
    const toAnchor = { ...request(), name: 'anchor', spiffeId: ANCHOR, address: '10.78.0.2:7843' };
    await Promise.all([
      b.start(),
      a.start({ advertise: ['10.1.0.0/24'], mesh: { peers: [toAnchor] } }),
      startAnchor([]),
    ]);
    await using events = anchor.events();
    await using tunnel = await Capture.start(b.namespace, b.interfaceName, join(lab().directory, 'kept.pcap'));
    await eventually('the denial', async () => {
      expect(await greeting(PORTS.granted)).toBeUndefined();
      return events.find('denied', ({ denial }) => denial?.cause === 'NOT_FORWARDED') !== undefined;
    });
    expect((await tunnel.packets()).filter(({ ip }) => ip !== undefined)).toEqual([]);
  });

  test('told to, it passes through both tunnels what is granted at each, and nothing else', async () => {
    await anchor.stop();
    await startAnchor([{ from: 'site-a', to: 'site-b' }]);
    await using tunnel = await Capture.start(b.namespace, b.interfaceName, join(lab().directory, 'forwarded.pcap'));
    expect(await reaches(PORTS.granted)).toBe(`hello ${PORTS.granted}`);
    expect((await client.attempt('ping', ['-c1', '-W5', HOST])).code).toBe(0);
    expect(await greeting(PORTS.ungranted)).toBeUndefined();
    const sources = (await tunnel.packets()).flatMap(({ ip }) => (ip === undefined ? [] : [ip.source]));
    expect(new Set(sources)).toEqual(new Set([CLIENT, HOST]));
    // Site-b may not open anything towards site-a.
    expect((await lab().host.attempt('ping', ['-c1', '-W1', CLIENT])).code).not.toBe(0);
  });

  test('the strictest of the three levels governs it', async () => {
    for (const site of [a, b, anchor]) {
      await site.setPosture(2);
      await eventually(
        'the ordinary target is out of reach',
        async () => (await greeting(PORTS.granted)) === undefined,
      );
      expect(await greeting(PORTS.management)).toBe(`hello ${PORTS.management}`);
      await site.setPosture(5);
      await reaches(PORTS.granted);
    }
  });

  test('it ends with either session, and the other one stands', async () => {
    await b.setPosture(1);
    await eventually('the session with site-b ended', async () => (await peers()).join() === 'site-a');
    expect(await greeting(PORTS.management)).toBeUndefined();
    expect(await peers()).toEqual(['site-a']);
  });
});

/** A site that is advertised the other one's prefix by the anchor. */
function knowsAnchor(accord: string, beyond: string): string {
  return accord
    .replace('advertise:\n', `advertise:\n  - identities: ['${ANCHOR}']\n    prefixes: [${beyond}, 10.99.0.3/32]\n`)
    .replace('ceilings: [', "ceilings: [{ identity: 'spiffe://site-c.test/**', tier: master }, ");
}

/** It names site-b's targets as its own, and lets both sites be where they are. */
function anchorAccord(accord: string): string {
  return accord
    .replace('id: site-b', 'id: site-c')
    .replace(
      'advertise:\n',
      `advertise:\n  - identities: ['${GATEWAY_B}']\n    prefixes: [10.2.0.0/24, 10.99.0.2/32]\n`,
    );
}
