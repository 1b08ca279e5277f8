import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { formatAddress } from '../../protocol/net/address.ts';
import { formatPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import { createLinuxNetwork } from '../../src/dataplane/linux/network.ts';
import { type NetworkWorld, networkContract } from '../../src/dataplane/network.contract.ts';
import type { Route } from '../../src/dataplane/ports.ts';
import { eventually } from '../support/eventually.ts';
import { createNamespace, type Namespace } from '../support/namespaces.ts';
import { describeWith } from '../support/requirements.ts';

describeWith(['root', 'namespaces', 'addon kernel'], 'links and routes over netlink', () => {
  networkContract(makeWorld);

  test('our routes carry protocol 83, and a flush of it is all that removes them', async () => {
    await using world = await makeWorld();
    await world.network.setUp(world.ifindex);
    await world.network.addRoutes([{ destination: parsePrefix('10.1.0.0/16'), ifindex: world.ifindex, table: 254 }]);
    const { stdout } = await world.namespace.run('ip', ['route', 'show', 'proto', '83']);
    expect(stdout).toMatch(/^10\.1\.0\.0\/16 dev one scope link/);
    await world.namespace.run('ip', ['route', 'flush', 'proto', '83']);
    expect(await world.network.routes()).toEqual([]);
  });

  test('an address is usable without duplicate detection, IPv6 too', async () => {
    await using world = await makeWorld();
    await world.network.setUp(world.ifindex);
    for (const text of ['10.9.0.1/24', 'fd09::1/64']) {
      const [address = '', length] = text.split('/');
      await world.network.addAddress(world.ifindex, { ...parsePrefix(address), length: Number(length) });
      const { stdout } = await world.namespace.run('ip', ['-o', 'address', 'show', 'to', text]);
      expect(stdout).toContain(address);
      expect(stdout).not.toContain('tentative');
      // The kernel makes a link ready in its own time.
      await eventually(
        `${address} answers`,
        async () => (await world.namespace.attempt('ping', ['-c1', '-W1', address])).code === 0,
      );
    }
  });

  test('a refusal names the route, the kernel’s own words and how many more there were', async () => {
    await using world = await makeWorld();
    const route = (destination: string): Route => ({
      destination: parsePrefix(destination),
      ifindex: world.ifindex,
      table: 254,
    });
    const refused = world.network.addRoutes([route('10.1.0.0/16'), route('10.2.0.0/16')]);
    await expect(refused).rejects.toThrow(/add route 10\.1\.0\.0\/16 link \d+ table 254, and 1 more.*\[ENETDOWN\]/);
  });

  test('rules send marked packets to a table, within our mask only, and others’ rules are not ours', async () => {
    await using world = await makeWorld();
    const network = createLinuxNetwork({ namespace: world.namespace.path });
    const rules = [
      { family: 4, priority: 8300, mark: 0x53000000, table: 830 },
      { family: 6, priority: 8300, mark: 0x53000000, table: 1830 },
    ] as const;
    await world.namespace.run('ip', ['rule', 'add', 'priority', '8301', 'fwmark', '0x1', 'lookup', '12']);
    for (const rule of [...rules, ...rules]) await network.addRule(rule);
    expect(await network.rules()).toEqual(rules);
    const { stdout } = await world.namespace.run('ip', ['rule']);
    expect(stdout).toMatch(/8300:\s+from all fwmark 0x53000000\/0xff000000 lookup 830 proto 83/);
    for (const mark of [0, 0x53000001]) {
      await expect(network.addRule({ ...rules[0], mark })).rejects.toThrow(/outside our mask/);
    }
    for (const rule of [...rules, ...rules]) await network.removeRule(rule);
    expect(await network.rules()).toEqual([]);
    expect((await world.namespace.run('ip', ['rule'])).stdout).toContain('8301:');
  });

  test('attack: more changes than the kernel keeps for a watch are a call all the same, and it goes on; it keeps no process alive', async () => {
    await using world = await makeWorld();
    await using watching = world.namespace.startNode('test/dataplane/children/link-watch.ts');
    await watching.line(/^watching$/);
    watching.kill('SIGSTOP');
    await eventually('it stopped', async () =>
      /^State:\s+T/m.test(await readFile(`/proc/${watching.pid}/status`, 'utf8')),
    );
    world.storm();
    watching.kill('SIGCONT');
    await watching.line(/^call \d one up$/);
    await world.namespace.run('ip', ['link', 'delete', 'one']);
    await watching.line(/^call \d+ one gone$/);
    watching.write('enough\n');
    expect(await watching.finished).toMatchObject({ code: 0, stderr: '' });
  });
});

/** Far more messages than a socket has room for. */
const STORM = 'link set one down\nlink set one up\n'.repeat(250);

interface LinuxNetworkWorld extends NetworkWorld {
  readonly namespace: Namespace;
}

async function makeWorld(): Promise<LinuxNetworkWorld> {
  await using owned = new AsyncDisposableStack();
  const namespace = owned.use(await createNamespace('links'));
  // Each end's other end is up already, so that a link has its carrier as soon as it is up.
  for (const name of ['one', 'two']) {
    await namespace.run('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-end`]);
    await namespace.run('ip', ['link', 'set', `${name}-end`, 'up']);
  }
  const network = createLinuxNetwork({ namespace: namespace.path });
  const links = await network.links();
  const numberOf = (name: string): number => links.find((link) => link.name === name)?.ifindex ?? -1;
  const nameOf = (ifindex: number): string => links.find((link) => link.ifindex === ifindex)?.name ?? '';
  const resources = owned.move();
  return {
    namespace,
    network,
    ifindex: numberOf('one'),
    otherIfindex: numberOf('two'),
    async addForeignRoute({ destination, ifindex, gateway }) {
      const via = gateway === undefined ? [] : ['via', formatAddress(gateway)];
      await namespace.run('ip', ['route', 'add', formatPrefix(destination), ...via, 'dev', nameOf(ifindex)]);
    },
    async linksTowards(destination) {
      const family = destination.includes(':') ? '-6' : '-4';
      const { stdout } = await namespace.run('ip', [family, 'route', 'show', 'exact', destination]);
      return [...stdout.matchAll(/ dev (\S+)/g)].map(([, name = '']) => numberOf(name));
    },
    async addLink(name) {
      await namespace.run('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-end`]);
      return (await network.links()).find((link) => link.name === name)?.ifindex ?? -1;
    },
    async removeLink(ifindex) {
      const link = (await network.links()).find((one) => one.ifindex === ifindex);
      await namespace.run('ip', ['link', 'delete', link?.name ?? '']);
    },
    storm: () => void execFileSync('ip', ['-n', namespace.name, '-batch', '-'], { input: STORM }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
