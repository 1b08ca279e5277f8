/** Whole streams through the embedded WireGuard: with super-packets, without, and on a path too narrow for them. */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseAddress } from '../../protocol/net/address.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import type { TunnelDevice } from '../../src/dataplane/ports.ts';
import { publicKeyOf } from '../../src/dataplane/tunnel-rules.ts';
import type { Namespace } from '../support/namespaces.ts';
import { describeWith } from '../support/requirements.ts';
import { createLinuxWorld, type LinuxWorld, uniqueName } from './hosts.ts';

const MTU = 1420;
const STREAM_BYTES = 12 * 1024 * 1024;
const V4 = ['10.84.0.1', '10.84.0.2'] as const;
const V6 = ['fd84::1', 'fd84::2'] as const;
const SLOW = 180_000;

describeWith(['root', 'namespaces', 'tun', 'addon kernel'], 'bursts through the embedded WireGuard', () => {
  test.each([
    ['IPv4', V4[1]],
    ['IPv6', V6[1]],
  ])(
    'a stream of several megabytes comes back intact over %s, in far fewer frames than packets',
    async (_, host) => {
      await using pair = await joined();
      const before = await received(pair.right);
      expect(await streamed(pair, host)).toBe('intact');
      const after = await received(pair.right);
      const frames = after.packets - before.packets;
      expect(after.bytes - before.bytes).toBeGreaterThan(STREAM_BYTES);
      expect(frames).toBeLessThan(STREAM_BYTES / MTU / 2);
    },
    SLOW,
  );

  test(
    'a stream is intact between a host with offloads and one whose kernel makes and takes single packets',
    async () => {
      await using pair = await joined();
      for (const link of ['wan', pair.right.device.name]) {
        await pair.right.namespace.run('ip', ['link', 'set', link, 'gso_max_segs', '1']);
      }
      expect(await streamed(pair, V4[1])).toBe('intact');
      expect(await streamed(pair, V6[1])).toBe('intact');
    },
    SLOW,
  );

  test(
    'a stream is intact where the path is too narrow for the tunnel and every datagram is fragmented',
    async () => {
      await using pair = await joined();
      for (const { namespace } of [pair.left, pair.right]) {
        await namespace.run('ip', ['link', 'set', 'wan', 'mtu', '1300']);
      }
      expect(await streamed(pair, V4[1])).toBe('intact');
    },
    SLOW,
  );

  test(
    'two streams at once do not mix',
    async () => {
      await using pair = await joined();
      expect(await Promise.all([streamed(pair, V4[1], 7001), streamed(pair, V6[1], 7002)])).toEqual([
        'intact',
        'intact',
      ]);
    },
    SLOW,
  );

  test.each([
    ['IPv4', V4[1]],
    ['IPv6', V6[1]],
  ])(
    'datagrams of every size, fragments too, and pings are unharmed over %s',
    async (_, host) => {
      await using pair = await joined();
      const echo = pair.right.namespace.startNode('test/dataplane/children/bulk.ts', ['udp-echo', host, '7000']);
      await echo.line(/^listening$/);
      const { stdout } = await pair.left.namespace.run(process.execPath, [
        'test/dataplane/children/bulk.ts',
        'udp',
        host,
        '7000',
      ]);
      expect(stdout).toBe('intact\n');
      for (const size of ['0', '1000', '1372', '4000']) {
        await pair.left.namespace.run('ping', ['-c2', '-i0.2', '-W2', '-s', size, host]);
      }
    },
    SLOW,
  );
});

interface Side {
  readonly namespace: Namespace;
  readonly device: TunnelDevice;
}

interface Pair extends AsyncDisposable {
  readonly left: Side;
  readonly right: Side;
}

/** To an echo on the right and back. */
async function streamed(pair: Pair, host: string, port = 7000): Promise<string> {
  await using echo = pair.right.namespace.startNode('test/dataplane/children/echo.ts', ['listen', String(port)]);
  await echo.line(/^listening$/);
  const args = ['test/dataplane/children/bulk.ts', 'tcp', host, String(port), String(STREAM_BYTES)];
  const { stdout } = await pair.left.namespace.run(process.execPath, args);
  return stdout.trim();
}

const counters = z.tuple([
  z.object({ stats64: z.object({ rx: z.object({ bytes: z.number(), packets: z.number() }) }) }),
]);

async function received({ namespace, device }: Side): Promise<{ readonly bytes: number; readonly packets: number }> {
  const { stdout } = await namespace.run('ip', ['-s', '-j', 'link', 'show', device.name]);
  return counters.parse(JSON.parse(stdout))[0].stats64.rx;
}

/** Both families inside, IPv4 outside; the left one dials. */
async function joined(): Promise<Pair> {
  await using owned = new AsyncDisposableStack();
  const world = owned.use(await createLinuxWorld());
  const keys = { left: randomBytes(32), right: randomBytes(32) };
  const presharedKey = randomBytes(32);
  const open = (side: 'left' | 'right'): Promise<TunnelDevice> =>
    world[side].tunnels.create({ name: uniqueName(), privateKey: keys[side], listenPort: 0, mtu: MTU });
  const left = owned.use(await open('left'));
  const right = owned.use(await open('right'));
  await configure(world, 'left', left, 0, 1);
  await configure(world, 'right', right, 1, 0);
  const common = { presharedKey, keepalive: 0 };
  const addresses = (at: 0 | 1) => [hostPrefix(parseAddress(V4[at])), hostPrefix(parseAddress(V6[at]))];
  await right.addPeer({ ...common, publicKey: publicKeyOf(keys.left), allowedIps: addresses(0) });
  const endpoint = { address: world.right.address, port: right.listenPort };
  await left.addPeer({ ...common, publicKey: publicKeyOf(keys.right), allowedIps: addresses(1), endpoint });
  const resources = owned.move();
  return {
    left: { namespace: world.left.namespace, device: left },
    right: { namespace: world.right.namespace, device: right },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function configure(
  world: LinuxWorld,
  side: 'left' | 'right',
  device: TunnelDevice,
  own: 0 | 1,
  other: 0 | 1,
): Promise<void> {
  const { network } = world[side];
  for (const family of [V4, V6]) await network.addAddress(device.ifindex, hostPrefix(parseAddress(family[own])));
  await network.setUp(device.ifindex);
  await network.addRoutes(
    [V4, V6].map((family) => ({
      destination: hostPrefix(parseAddress(family[other])),
      ifindex: device.ifindex,
      table: 254,
    })),
  );
}
