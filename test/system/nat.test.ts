/** A site behind a NAT: nobody can dial it, its ports are another's choice, and they change under a tunnel that lives. */
import { beforeAll, expect, test } from 'vitest';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';

/**
 *     site-a 10.78.0.2 ── 10.78.0.1 nat 10.79.0.1 ── 10.79.0.2 site-b
 */
labSuite('behind a NAT', { start: false }, (lab) => {
  let nat: Namespace;

  /** Where site-b's WireGuard has its peer. */
  const endpoint = async (): Promise<string | undefined> => {
    const { stdout } = await lab().b.run('wg', 'show', lab().b.interfaceName, 'endpoints');
    return /^\S+\t(\S+)$/m.exec(stdout)?.[1];
  };
  const portAt = async (thousand: number): Promise<boolean> =>
    new RegExp(`^10\\.79\\.0\\.1:${thousand}\\d{3}$`).test((await endpoint()) ?? '');

  beforeAll(async () => {
    const { a, b } = lab();
    nat = await createNamespace('nat');
    lab().host.own(nat);
    await connect(
      { in: a.namespace, name: 'natted', addresses: ['10.78.0.2/24'] },
      { in: nat, name: 'inside', addresses: ['10.78.0.1/24'] },
    );
    await connect(
      { in: nat, name: 'outside', addresses: ['10.79.0.1/24'] },
      { in: b.namespace, name: 'public', addresses: ['10.79.0.2/24'] },
    );
    await a.namespace.run('ip', ['route', 'add', '10.79.0.0/24', 'via', '10.78.0.1']);
    await nat.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    await masqueradeTo(nat, 20);
    await b.start();
    const peers = a.options.peers.map((peer) => ({ ...peer, address: '10.79.0.2:7843', keepaliveSeconds: 1 }));
    await a.start({ mesh: { peers } });
  });

  test('the tunnel works, at a port that the NAT chose and site-b learnt', async () => {
    expect(await eventually('the granted target', () => lab().a.greeting(HOST, PORTS.granted))).toBe(
      `hello ${PORTS.granted}`,
    );
    expect(await portAt(20)).toBe(true);
  });

  test('the tunnel outlives a new mapping: keepalives alone tell site-b of the new port', async () => {
    const { a, b } = lab();
    const [before] = await b.sessions('mesh');
    // The mapping is forgotten, and its successor is elsewhere: what a NAT that restarts does.
    await forgetAfter(nat, 0);
    await masqueradeTo(nat, 30);
    await eventually('the new port at site-b', () => portAt(30), { withinMs: 30_000 });
    await forgetAfter(nat, 30);
    expect(await eventually('the granted target', () => a.greeting(HOST, PORTS.granted))).toBe(
      `hello ${PORTS.granted}`,
    );
    expect(await portAt(30)).toBe(true);
    expect((await b.sessions('mesh')).map(({ id }) => id)).toEqual([before?.id]);
  });
});

/** How long the NAT remembers a mapping of UDP that nothing used. */
async function forgetAfter(nat: Namespace, seconds: number): Promise<void> {
  for (const name of ['udp_timeout', 'udp_timeout_stream']) {
    await nat.run('sysctl', ['-qw', `net.netfilter.nf_conntrack_${name}=${seconds}`]);
  }
}

/** WireGuard's packets get a source port of that thousand. */
async function masqueradeTo(nat: Namespace, thousand: number): Promise<void> {
  await nat.run('nft', ['-f', '-'], {
    input: `add table ip nat
delete table ip nat
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname outside udp dport 51840 masquerade to :${thousand}000-${thousand}999
    oifname outside masquerade
  }
}
`,
  });
}
