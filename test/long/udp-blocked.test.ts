/** Two sites between which no UDP gets through: the tunnel's packets go in their session. */
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { PeerView, SessionDetail } from '../../src/control/ports.ts';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { UDP } from '../support/pcap.ts';

labSuite('UDP blocked', { start: false }, (lab) => {
  const isBack = (): Promise<string> =>
    eventually('the granted target', () => lab().a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });

  beforeAll(async () => {
    const { a, b } = lab();
    for (const { namespace } of [a, b]) {
      const rule = 'oifname wan ip protocol udp drop;';
      const input = `table inet wall {\n chain out {\n type filter hook output priority 0; ${rule}\n }\n}\n`;
      await namespace.run('nft', ['-f', '-'], { input });
    }
    const back = { name: 'site-a', spiffeId: 'spiffe://site-a.test/gateway', carry: true };
    await b.start({ mesh: { peers: [back] } });
    await a.start({ mesh: { peers: a.options.peers.map((peer) => ({ ...peer, carry: true })) } });
  });

  test('the tunnel works, under the same rules, and the console says that it is carried', async () => {
    const { a, b, directory } = lab();
    await using wire = await Capture.start(b.namespace, 'wan', join(directory, 'carried.pcap'));
    expect(await isBack()).toBe(`hello ${PORTS.granted}`);
    expect(await a.greeting(HOST, PORTS.ungranted)).toBeUndefined();
    expect((await wire.packets()).filter(({ ip }) => ip?.protocol === UDP)).toEqual([]);
    for (const site of [a, b]) {
      const { peers } = await site.json<{ readonly peers: readonly PeerView[] }>('anchor', 'list');
      expect(peers[0]).toMatchObject({ state: 'connected', carried: true });
      const [session] = await site.sessions('mesh');
      const detail = await site.json<SessionDetail>('sessions', 'show', session?.id ?? '');
      expect(detail.tunnel).toMatchObject({ carried: true });
    }
  });

  test('packets as large as the tunnel takes pass, one after the other', async () => {
    const { stdout } = await lab().a.run('ping', '-c', '50', '-A', '-s', '1392', '-W5', HOST);
    expect(stdout).toContain(' 0% packet loss');
  });

  test('a new attestation, a restart at either end, a lockdown: none of them leaves the tunnel behind', async () => {
    const { a, b } = lab();
    await a.setPosture(3);
    await eventually('attested again', () => a.log.includes('session attested again'));
    await isBack();
    await b.kill();
    await b.start({ mesh: { peers: [{ name: 'site-a', spiffeId: 'spiffe://site-a.test/gateway', carry: true }] } });
    await isBack();
    await b.setPosture(1);
    await eventually('nothing', async () => (await a.sessions('mesh')).length === 0);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
  });

  test('may be found out by who dials: the tunnel goes in the session, and where UDP is let through again the next one uses it', async () => {
    const { a, b } = lab();
    await Promise.all([a, b].map((site) => site.stop()));
    const back = { name: 'site-a', spiffeId: 'spiffe://site-a.test/gateway', carry: 'auto' };
    const peers = a.options.peers.map((peer) => ({ ...peer, carry: 'auto' }));
    await Promise.all([b.start({ mesh: { peers: [back] } }), a.start({ mesh: { peers, carryAfterSeconds: 1 } })]);
    await a.setPosture(5);
    await b.setPosture(5);
    await a.shellstream('anchor', 'release', 'site-b', '--reason', 'drill');
    await isBack();
    await a.gateway.line(/the tunnel goes in the session/);
    for (const site of [a, b]) expect(await isCarried(site)).toBe(true);

    for (const { namespace } of [a, b]) await namespace.run('nft', ['delete', 'table', 'inet', 'wall']);
    const next = async (): Promise<boolean> => {
      const [carrying] = await a.sessions('mesh');
      if (carrying !== undefined) await a.shellstream('sessions', 'end', carrying.id);
      await isBack();
      return !(await isCarried(a)) && !(await isCarried(b));
    };
    // One whose first handshake takes more than that second is carried again, until it ends.
    await eventually('a tunnel of its own', next, { withinMs: 90_000 });
  });
});

/** As `anchor list` has the one peer. */
async function isCarried(site: Site): Promise<boolean> {
  const { peers } = await site.json<{ readonly peers: readonly PeerView[] }>('anchor', 'list');
  expect(peers).toMatchObject([{ state: 'connected' }]);
  return peers[0]?.carried === true;
}
