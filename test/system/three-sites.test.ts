/** Three sites at different levels at once: each session is governed by its own minimum, and nobody else's. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { federate, startTrustDomain } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace } from '../support/namespaces.ts';

labSuite('three sites', { start: false }, (lab) => {
  const parts = new AsyncDisposableStack();
  let b: Site;
  let c: Site;

  beforeAll(async () => {
    const { a, directory, domains } = lab();
    b = parts.use(new Site({ ...lab().b.options, accord: withSiteC(lab().b.options.accord) }));
    c = await siteC();
    await b.start();
    await Promise.all([a.start(), c.start()]);
    for (const site of [a, c]) await reaches(site, PORTS.granted);

    async function siteC(): Promise<Site> {
      const domain = parts.use(
        await startTrustDomain({ name: 'site-c.test', directory: join(directory, 'cc'), clock: systemClock }),
      );
      parts.use(federate(domain, domains.b));
      const namespace = parts.use(await createNamespace('c'));
      await connect(
        { in: namespace, name: 'wan', addresses: ['10.78.0.1/24'] },
        { in: b.namespace, name: 'wan-c', addresses: ['10.78.0.2/24'] },
      );
      const instance = instanceName('c', 1);
      parts.defer(() => removeTraces(instance));
      return parts.use(
        new Site({
          ...a.options,
          instance,
          namespace,
          directory: join(directory, 'c'),
          domain,
          gateway: await domain.register({ path: '/gateway', tier: 'master', x509TtlMs: 600_000 }),
          tunnelAddress: '10.99.0.3/24',
          accord: a.options.accord.replace('id: site-a', 'id: site-c'),
          peers: a.options.peers.map((peer) => ({ ...peer, address: '10.78.0.2:7843' })),
        }),
      );
    }
  });

  afterAll(() => parts.disposeAsync());

  const reaches = (site: Site, port: number): Promise<string> =>
    eventually(`${port} from ${site.options.domain.name}`, () => site.greeting(HOST, port), { withinMs: 30_000 });
  /** Of site-b's sessions by the peer's trust domain: the level that governs each, and whose it is. */
  const governed = async (): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries(
      (await b.sessions('mesh')).map(({ peer, effectiveLevel, governedBy }) => [
        /site-./.exec(peer)?.[0] ?? peer,
        `${effectiveLevel} by ${governedBy}`,
      ]),
    );
  const become = (levels: Readonly<Record<string, string>>): Promise<true> =>
    eventually(JSON.stringify(levels), async () => {
      const now = await governed();
      return JSON.stringify(Object.entries(now).sort()) === JSON.stringify(Object.entries(levels).sort());
    });

  test('2, 5 and 4: each session has the lower of its own two', async () => {
    const { a } = lab();
    await Promise.all([a.setPosture(2), c.setPosture(4)]);
    await become({ 'site-a': '2 by peer', 'site-c': '4 by peer' });
    await eventually('both in the kernel', async () => (await b.peerLevelsInKernel()).toSorted().join() === '2,4');
    expect(await b.postureInKernel()).toEqual([5, 5]);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    await reaches(a, PORTS.management);
    await reaches(c, PORTS.granted);
  });

  test('3 in the middle governs both of its sessions, but for the one whose other end is lower', async () => {
    await b.setPosture(3);
    await become({ 'site-a': '2 by peer', 'site-c': '3 by local' });
    await lab().a.setPosture(5);
    await become({ 'site-a': '3 by local', 'site-c': '3 by local' });
    await reaches(lab().a, PORTS.granted);
    await reaches(c, PORTS.granted);
  });

  test('1 at one of them ends its own session, and nothing of the other', async () => {
    await b.setPosture(5);
    const before = (await b.sessions('mesh')).find(({ peer }) => peer.includes('site-c'));
    await lab().a.setPosture(1);
    await become({ 'site-c': '4 by peer' });
    await reaches(c, PORTS.granted);
    expect((await b.sessions('mesh')).map(({ id }) => id)).toEqual([before?.id]);
  });
});

function withSiteC(accord: string): string {
  return accord
    .replace(
      'advertise:\n',
      "advertise:\n  - identities: ['spiffe://site-c.test/gateway']\n    prefixes: [10.99.0.3/32]\n",
    )
    .replace('ceilings: [', "ceilings: [{ identity: 'spiffe://site-c.test/**', tier: master }, ");
}
