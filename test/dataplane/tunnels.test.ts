import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAddress } from '../../protocol/net/address.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import { createLinuxTunnels, probeTunnelDriver } from '../../src/dataplane/linux/tunnels.ts';
import type { TunnelDevice } from '../../src/dataplane/ports.ts';
import { keyText, publicKeyOf } from '../../src/dataplane/tunnel-rules.ts';
import { tunnelContract } from '../../src/dataplane/tunnels.contract.ts';
import { Capture } from '../support/capture.ts';
import { createNamespace } from '../support/namespaces.ts';
import { TCP, UDP } from '../support/pcap.ts';
import { describeWith, unmet } from '../support/requirements.ts';
import { createLinuxWorld, DEVICE_PREFIX, type LinuxWorld, uniqueName } from './hosts.ts';
import { kernelWireguard } from './kernel-wireguard.ts';

const CONTROL_SOCKETS = '/var/run/wireguard';

describeWith(['root', 'namespaces', 'tun', 'addon kernel'], 'embedded WireGuard', () => {
  tunnelContract(() => createLinuxWorld('embedded'));

  test('`wg show` sees the port, the peer and its handshake, and no key that is secret', async () => {
    await using world = await createLinuxWorld();
    await using pair = await joined(world);
    expect(await world.left.reaches(pair.left, '10.83.0.1', '10.83.0.2')).toBe(true);
    const { stdout } = await world.left.namespace.run('wg', ['show', pair.left.name]);
    expect(stdout).toContain(`listening port: ${pair.left.listenPort}`);
    expect(stdout).toContain(`peer: ${keyText(pair.rightKey)}`);
    expect(stdout).toContain(`endpoint: 192.0.2.2:${pair.right.listenPort}`);
    expect(stdout).toContain('latest handshake:');
    const { stdout: dump } = await world.left.namespace.run('wg', ['show', pair.left.name, 'dump']);
    expect(dump).not.toContain(Buffer.from(pair.secret).toString('base64'));
    expect(dump).not.toContain(Buffer.from(pair.leftPrivate).toString('base64'));
  });

  test('the control socket changes nothing: `wg set` cannot add a peer behind the enforcer', async () => {
    await using world = await createLinuxWorld();
    await using device = await world.left.tunnels.create(spec());
    const added = await world.left.namespace.attempt('wg', [
      'set',
      device.name,
      'peer',
      keyText(randomBytes(32)),
      'allowed-ips',
      '0.0.0.0/0',
    ]);
    expect(added.code).not.toBe(0);
    expect(await device.peers()).toEqual([]);
  });

  test('a client of the control socket that sends without end or not at all does not stop it', async () => {
    await using world = await createLinuxWorld();
    await using device = await world.left.tunnels.create(spec());
    const path = `${CONTROL_SOCKETS}/${device.name}.sock`;
    const silent = Array.from({ length: 4 }, () => createConnection(path));
    const flood = createConnection(path);
    flood.on('error', () => undefined);
    const cut = new Promise((resolve) => flood.once('close', resolve));
    flood.write('x'.repeat(1 << 20));
    flood.resume();
    await cut;
    await world.left.namespace.run('wg', ['show', device.name]);
    for (const one of silent) one.destroy();
  });

  test('TCP goes through the tunnel, and only encrypted UDP is seen outside', async () => {
    await using world = await createLinuxWorld();
    await using pair = await joined(world);
    const word = `hello-${randomBytes(8).toString('hex')}`;
    const listening =
      "require('net').createServer(s=>s.end(process.argv[1])).listen(7000,'10.83.0.2',()=>console.log('ready'))";
    const server = world.right.namespace.start(process.execPath, ['-e', listening, word]);
    await server.line(/ready/);
    await using folder = await mkdtempDisposable(join(tmpdir(), 'shs-tunnel-'));
    const file = join(folder.path, 'wan.pcap');
    await using tap = await Capture.start(world.right.namespace, 'wan', file);
    const asking = "require('net').connect(7000,'10.83.0.2').on('data',d=>process.stdout.write(d))";
    const { stdout } = await world.left.namespace.run(process.execPath, ['-e', asking]);
    expect(stdout).toBe(word);
    const transports = (await tap.packets()).flatMap(({ ip }) => (ip === undefined ? [] : [ip.protocol]));
    expect(transports).toContain(UDP);
    expect(transports).not.toContain(TCP);
    expect((await readFile(file)).includes(word)).toBe(false);
    expect((await pair.right.peers())[0]?.handshakeAgeMs).toBeDefined();
  });

  test('carries IPv6 inside, over an IPv6 endpoint outside', async () => {
    await using world = await createLinuxWorld();
    await using pair = await joined(world, { endpoint: 'fd0a::2', inner: ['fd83::1', 'fd83::2'] });
    expect(await world.left.reaches(pair.left, 'fd83::1', 'fd83::2')).toBe(true);
    expect((await pair.right.peers())[0]?.endpoint?.address).toBe('fd0a::1');
  });

  test('a device that was down, with packets for it, works when it is up again', async () => {
    await using world = await createLinuxWorld();
    await using pair = await joined(world);
    expect(await world.left.reaches(pair.left, '10.83.0.1', '10.83.0.2')).toBe(true);
    await world.right.network.setDown(pair.right.ifindex);
    // They arrive, are decrypted, and the link refuses them: that must not end the device.
    expect(await world.left.reaches(pair.left, '10.83.0.1', '10.83.0.2')).toBe(false);
    await world.right.network.setUp(pair.right.ifindex);
    await world.right.network.addRoutes([
      { destination: hostPrefix(parseAddress('10.83.0.1')), ifindex: pair.right.ifindex, table: 254 },
    ]);
    expect(await world.left.reaches(pair.left, '10.83.0.1', '10.83.0.2')).toBe(true);
  });

  test('clearing and adding peers a hundred times never loses the UDP port', async () => {
    await using world = await createLinuxWorld();
    await using pair = await joined(world);
    for (let n = 0; n < 100; n++) await pair.left.removeAllPeers();
    await pair.left.addPeer(pair.rightAsPeer);
    expect(await world.left.reaches(pair.left, '10.83.0.1', '10.83.0.2')).toBe(true);
  });

  test('closing leaves no link and no control socket', async () => {
    await using world = await createLinuxWorld();
    const device = await world.left.tunnels.create(spec());
    const path = `${CONTROL_SOCKETS}/${device.name}.sock`;
    expect(existsSync(path)).toBe(true);
    await device[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
    const { stdout } = await world.left.namespace.run('ip', ['-o', 'link']);
    expect(stdout).not.toContain(device.name);
  });

  test('a name whose control socket another process serves is refused, and that socket stays', async () => {
    await using world = await createLinuxWorld();
    const name = uniqueName();
    await using first = await world.left.tunnels.create(spec(name));
    await expect(world.right.tunnels.create(spec(name))).rejects.toThrow(/EADDRINUSE/);
    await world.left.namespace.run('wg', ['show', first.name]);
    const { stdout } = await world.right.namespace.run('ip', ['-o', 'link']);
    expect(stdout).not.toContain(name);
  });

  test('what a run killed with SIGKILL left is removed by prefix, and nothing else', async () => {
    await using world = await createLinuxWorld();
    await using other = await world.left.tunnels.create(spec());
    const prefix = `k${DEVICE_PREFIX}`;
    const child = world.left.namespace.startNode('test/dataplane/children/tunnels.ts', [`${prefix}1`, `${prefix}2`]);
    await child.line(/^up$/);
    child.kill('SIGKILL');
    await child.finished;
    expect(existsSync(`${CONTROL_SOCKETS}/${prefix}1.sock`)).toBe(true);
    // As a device would stay whose owner handed it over or made it persistent.
    await world.left.namespace.run('ip', ['tuntap', 'add', 'dev', `${prefix}3`, 'mode', 'tun']);
    const removed = await world.left.tunnels.removeLeftovers(prefix);
    expect(removed).toEqual([`${prefix}1`, `${prefix}2`, `${prefix}3`]);
    expect(existsSync(`${CONTROL_SOCKETS}/${prefix}1.sock`)).toBe(false);
    const { stdout } = await world.left.namespace.run('ip', ['-o', 'link']);
    expect(stdout).not.toContain(prefix);
    expect(await world.left.tunnels.removeLeftovers(prefix)).toEqual([]);
    expect(await other.peers()).toEqual([]);
  });

  test('a process with devices up ends by itself, with its own exit code', async () => {
    await using namespace = await createNamespace('leaving');
    const child = namespace.startNode('test/dataplane/children/tunnels.ts', ['--leave', uniqueName(), uniqueName()]);
    const { code, signal } = await child.finished;
    expect({ code, signal }).toEqual({ code: 7, signal: null });
    await createLinuxTunnels({ kind: 'embedded' }).removeLeftovers(DEVICE_PREFIX);
  });
});

// Elsewhere the kernel tier runs them.
if (unmet(['root', 'namespaces', 'addon kernel']) === undefined && probeTunnelDriver().kind === 'kernel') {
  kernelWireguard();
}

describeWith(['addon kernel'], 'the choice of WireGuard', () => {
  test('says what was chosen and why, and the kernel driver fails by name where the kernel has none', async () => {
    const { kind, why } = probeTunnelDriver();
    expect(why).not.toBe('');
    expect(createLinuxTunnels().kind).toBe(kind);
    if (kind === 'kernel') return;
    expect(why).toMatch(/no WireGuard.*\[E[A-Z]+\]/);
    const refused = createLinuxTunnels({ kind: 'kernel' }).create(spec());
    await expect(refused).rejects.toThrow(/TUNNEL_FAILED.*no WireGuard/);
  });
});

function spec(name = uniqueName()): Parameters<ReturnType<typeof createLinuxTunnels>['create']>[0] {
  return { name, privateKey: randomBytes(32), listenPort: 0, mtu: 1420 };
}

interface Joined extends AsyncDisposable {
  readonly left: TunnelDevice;
  readonly right: TunnelDevice;
  readonly rightKey: Uint8Array;
  readonly leftPrivate: Uint8Array;
  readonly secret: Uint8Array;
  readonly rightAsPeer: Parameters<TunnelDevice['addPeer']>[0];
}

/** A device on each host, up, each the other's peer; the left one dials. */
async function joined(
  world: LinuxWorld,
  { endpoint = '192.0.2.2', inner = ['10.83.0.1', '10.83.0.2'] } = {},
): Promise<Joined> {
  await using owned = new AsyncDisposableStack();
  const [leftInner, rightInner] = inner.map((text) => hostPrefix(parseAddress(text)));
  if (leftInner === undefined || rightInner === undefined) throw new Error('two inner addresses');
  const [leftSpec, rightSpec] = [spec(), spec()];
  const left = owned.use(await world.left.tunnels.create(leftSpec));
  const right = owned.use(await world.right.tunnels.create(rightSpec));
  const sides = [
    { host: world.left, device: left, own: leftInner, destination: rightInner },
    { host: world.right, device: right, own: rightInner, destination: leftInner },
  ];
  for (const { host, device, own, destination } of sides) {
    await host.network.addAddress(device.ifindex, own);
    await host.network.setUp(device.ifindex);
    await host.network.addRoutes([{ destination, ifindex: device.ifindex, table: 254 }]);
  }
  const secret = randomBytes(32);
  const [leftKey, rightKey] = [publicKeyOf(leftSpec.privateKey), publicKeyOf(rightSpec.privateKey)];
  const common = { presharedKey: secret, keepalive: 0 };
  const rightAsPeer = {
    ...common,
    publicKey: rightKey,
    allowedIps: [rightInner],
    endpoint: { address: endpoint, port: right.listenPort },
  };
  await right.addPeer({ ...common, publicKey: leftKey, allowedIps: [leftInner] });
  await left.addPeer(rightAsPeer);
  const resources = owned.move();
  return {
    left,
    right,
    rightKey,
    leftPrivate: leftSpec.privateKey,
    secret,
    rightAsPeer,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
