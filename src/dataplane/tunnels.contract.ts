/** What every tunnel driver must do: `tunnelContract` is run on the memory driver and, with real packets, on Linux. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { parseAddress } from '../../protocol/net/address.ts';
import { hostPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import type { NetworkLinks, TunnelDevice, TunnelDriver, TunnelPeer } from './ports.ts';
import { publicKeyOf } from './tunnel-rules.ts';

/** Two hosts that reach each other by UDP. */
export interface TunnelWorld extends AsyncDisposable {
  readonly left: TunnelHost;
  readonly right: TunnelHost;
  /** A device name that nothing else on this machine has; it begins with `prefix`. */
  uniqueName(): string;
  readonly prefix: string;
}

export interface TunnelHost {
  readonly tunnels: TunnelDriver;
  readonly network: NetworkLinks;
  /** Numeric, as the other host writes it in an endpoint. */
  readonly address: string;
  /** Whether a packet to an inner address is answered through the device. */
  reaches(device: TunnelDevice, from: string, to: string): Promise<boolean>;
}

export function tunnelContract(makeWorld: () => Promise<TunnelWorld>): void {
  describe('a device', () => {
    test('is created down, is a link of its host, and says the port it listens on', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      expect(device.listenPort).toBeGreaterThan(0);
      const links = await world.left.network.links();
      expect(links).toContainEqual({ ifindex: device.ifindex, name: device.name, up: false, loopback: false });
      expect(await device.peers()).toEqual([]);
    });

    test('is gone with its link once closed; closing again is fine, using it is not, and the name is free', async () => {
      await using world = await makeWorld();
      const name = world.uniqueName();
      const device = await open(world, name);
      await world.left.network.setUp(device.ifindex);
      await device.addPeer(somePeer());
      await device[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
      expect((await world.left.network.links()).map((link) => link.name)).not.toContain(name);
      await expect(device.peers()).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      await expect(device.addPeer(somePeer())).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      await using again = await open(world, name);
      expect(again.name).toBe(name);
    });

    test('with a name or a port that is taken, or that cannot be, is refused and leaves nothing', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      // The kernel's WireGuard holds its port only while it is up.
      await world.left.network.setUp(device.ifindex);
      const before = await world.left.network.links();
      const spec = { name: world.uniqueName(), privateKey: randomBytes(32), listenPort: 0, mtu: 1420 };
      const refused = [
        { ...spec, name: device.name },
        { ...spec, listenPort: device.listenPort },
        { ...spec, listenPort: 70_000 },
        { ...spec, name: 'sixteen-letters!' },
        { ...spec, name: '../../etc' },
        { ...spec, privateKey: randomBytes(31) },
        { ...spec, mtu: 100_000 },
      ];
      for (const wrong of refused) {
        await expect(world.left.tunnels.create(wrong)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      }
      expect(await world.left.network.links()).toEqual(before);
    });

    test('in use is no leftover, whoever asks by its prefix', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      expect(await world.left.tunnels.removeLeftovers(world.prefix)).toEqual([]);
      expect((await world.left.network.links()).map((link) => link.name)).toContain(device.name);
      await expect(world.left.tunnels.removeLeftovers('')).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
    });
  });

  describe('a peer', () => {
    test('is listed as it was added, before any handshake', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const peer: TunnelPeer = {
        ...somePeer('10.1.0.0/16', 'fd01::/64'),
        endpoint: { address: '192.0.2.9', port: 51_840 },
      };
      await device.addPeer(peer);
      const [found, ...others] = await device.peers();
      expect(others).toEqual([]);
      expect(plain(found?.publicKey)).toEqual(plain(peer.publicKey));
      expect(found?.endpoint).toEqual({ address: '192.0.2.9', port: 51_840 });
      expect(found?.handshakeAgeMs).toBeUndefined();
      expect(found?.receivedBytes).toBe(0n);
      expect(found?.allowedIps.map(({ address, length }) => [...address, length]).sort()).toEqual(
        peer.allowedIps.map(({ address, length }) => [...address, length]).sort(),
      );
    });

    test('that is already there is refused: its old key pairs would live on', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const peer = somePeer('10.1.0.0/16');
      await device.addPeer(peer);
      const again = { ...peer, presharedKey: randomBytes(32), allowedIps: [parsePrefix('10.2.0.0/16')] };
      await expect(device.addPeer(again)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      expect(await device.peers()).toHaveLength(1);
    });

    test("with the device's own key is refused", async () => {
      await using world = await makeWorld();
      const privateKey = randomBytes(32);
      await using device = await open(world, world.uniqueName(), privateKey);
      const mirror = { ...somePeer('10.1.0.0/16'), publicKey: publicKeyOf(privateKey) };
      await expect(device.addPeer(mirror)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
    });

    test("cannot take another's addresses, by the same prefix, a wider one, a narrower one or all", async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const owner = somePeer('10.1.0.0/16', 'fd01::/64');
      await device.addPeer(owner);
      for (const claim of ['10.1.0.0/16', '10.0.0.0/8', '10.1.2.3/32', '0.0.0.0/0', 'fd01::1/128', '::/0']) {
        await expect(device.addPeer(somePeer('172.16.0.0/24', claim))).rejects.toMatchObject({
          reason: 'TUNNEL_FAILED',
        });
      }
      await device.addPeer(somePeer('172.16.0.0/24', '10.2.0.0/16'));
      await device.removePeer(owner.publicKey);
      await device.addPeer(somePeer('10.1.2.0/24'));
      expect(await device.peers()).toHaveLength(2);
    });

    test('with keys, prefixes or an endpoint that do not parse is refused and changes nothing', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const peer = somePeer('10.1.0.0/16');
      const hostBits = { address: parseAddress('10.1.2.3'), length: 16 };
      const refused: TunnelPeer[] = [
        { ...peer, publicKey: randomBytes(31) },
        { ...peer, presharedKey: randomBytes(33) },
        { ...peer, allowedIps: [hostBits] },
        { ...peer, endpoint: { address: 'gateway.example', port: 51_840 } },
        { ...peer, endpoint: { address: '192.0.2.1', port: 0 } },
        { ...peer, keepalive: 70_000 },
      ];
      for (const wrong of refused) {
        await expect(device.addPeer(wrong)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      }
      expect(await device.peers()).toEqual([]);
      await device.addPeer(peer);
    });

    test('is removed once; one that is not there is no error', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const peer = somePeer('10.1.0.0/16');
      await device.addPeer(peer);
      expect(await device.removePeer(peer.publicKey)).toBe(true);
      expect(await device.removePeer(peer.publicKey)).toBe(false);
      expect(await device.peers()).toEqual([]);
    });

    test('is removed together with many others, and no other one is', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const peers = Array.from({ length: 600 }, (_, n) => somePeer(`10.${n >> 8}.${n & 255}.0/24`));
      const [stays = somePeer(), ...gone] = peers;
      for (const peer of peers) await device.addPeer(peer);
      const keys = [...gone, somePeer()].map(({ publicKey }) => publicKey);
      expect(await device.removePeers(keys)).toBe(gone.length);
      expect(await device.removePeers(keys)).toBe(0);
      expect((await device.peers()).map(({ publicKey }) => plain(publicKey))).toEqual([plain(stays.publicKey)]);
      await device.addPeer({ ...somePeer(), allowedIps: gone[0]?.allowedIps ?? [] });
      await expect(device.removePeers([randomBytes(31)])).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
    });

    test('is kept alive as it is told, last word first, and no other one is', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      const [peer, other] = [somePeer('10.1.0.0/16'), { ...somePeer('10.2.0.0/16'), keepalive: 25 }];
      await device.addPeer(peer);
      await device.addPeer(other);
      const keepalives = async (): Promise<readonly number[]> =>
        (await device.peers()).map(({ keepalive }) => keepalive).sort((a, b) => a - b);
      expect(await keepalives()).toEqual([0, 25]);
      expect(await device.setKeepalive([peer.publicKey, somePeer().publicKey], 9)).toBe(1);
      expect(await keepalives()).toEqual([9, 25]);
      expect(await device.setKeepalive([peer.publicKey, other.publicKey], 0)).toBe(2);
      expect(await keepalives()).toEqual([0, 0]);
      await expect(device.setKeepalive([peer.publicKey], 70_000)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
      await expect(device.setKeepalive([randomBytes(31)], 1)).rejects.toMatchObject({ reason: 'TUNNEL_FAILED' });
    });

    test('and a thousand others are added, and cleared in one call that leaves the device usable', async () => {
      await using world = await makeWorld();
      await using device = await open(world);
      for (let n = 0; n < 1000; n++) await device.addPeer(somePeer(`10.${n >> 8}.${n & 255}.0/24`));
      expect(await device.peers()).toHaveLength(1000);
      await device.removeAllPeers();
      expect(await device.peers()).toEqual([]);
      await device.addPeer(somePeer('10.0.0.0/8'));
    });
  });

  describe('two devices', () => {
    test('whose keys, pre-shared keys and endpoints agree carry packets both ways, and tell of the handshake', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      await pair.join(randomBytes(32));
      expect(await pair.leftReachesRight()).toBe(true);
      expect(await pair.rightReachesLeft()).toBe(true);
      const [seenLeft] = await pair.left.peers();
      const [seenRight] = await pair.right.peers();
      expect(seenLeft?.handshakeAgeMs).toBeGreaterThanOrEqual(0);
      expect(seenLeft?.handshakeAgeMs).toBeLessThan(60_000);
      expect(seenRight?.handshakeAgeMs).toBeGreaterThanOrEqual(0);
      expect(seenLeft?.sentBytes).toBeGreaterThan(0n);
      expect(seenRight?.receivedBytes).toBeGreaterThan(0n);
      // The right one was given no endpoint: it learnt it from an authenticated handshake.
      expect(seenRight?.endpoint).toEqual({ address: world.left.address, port: pair.left.listenPort });
    });

    test('of which one sends keepalives shake hands though nothing is sent through them', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      const secret = randomBytes(32);
      await pair.right.addPeer(pair.leftAsPeer(secret));
      await pair.left.addPeer({ ...pair.rightAsPeer(secret), keepalive: 25 });
      for (const device of [pair.left, pair.right]) {
        await vi.waitFor(async () => expect((await device.peers())[0]?.handshakeAgeMs).toBeGreaterThanOrEqual(0), {
          timeout: 10_000,
          interval: 20,
        });
      }
    });

    test('of which one is told to send keepalives once they carry packets go on with the handshake that they have', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      await pair.join(randomBytes(32));
      expect(await pair.leftReachesRight()).toBe(true);
      const [before] = await pair.left.peers();
      expect(await pair.left.setKeepalive([pair.rightKey], 1)).toBe(1);
      expect((await pair.left.peers())[0]?.keepalive).toBe(1);
      expect(await pair.leftReachesRight()).toBe(true);
      const [after] = await pair.left.peers();
      expect(after?.handshakeAgeMs).toBeGreaterThanOrEqual(before?.handshakeAgeMs ?? Number.NaN);
    });

    test('that differ in one bit of the pre-shared key make no handshake and pass no packet', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      const secret = randomBytes(32);
      const flipped = Uint8Array.from(secret, (byte, at) => (at === 0 ? byte ^ 1 : byte));
      await pair.join(secret, flipped);
      expect(await pair.leftReachesRight()).toBe(false);
      expect(await pair.rightReachesLeft()).toBe(false);
      for (const device of [pair.left, pair.right]) {
        expect((await device.peers()).map((peer) => peer.handshakeAgeMs)).toEqual([undefined]);
      }
    });

    test('of which one was never told of the other pass no packet', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      await pair.left.addPeer(pair.rightAsPeer(randomBytes(32)));
      await pair.right.addPeer(somePeer('10.83.0.1/32'));
      expect(await pair.leftReachesRight()).toBe(false);
      expect((await pair.left.peers())[0]?.handshakeAgeMs).toBeUndefined();
    });

    test('pass none from a source outside the allowed IPs, though the keys agree: a peer cannot borrow an address', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      const secret = randomBytes(32);
      await pair.left.addPeer(pair.rightAsPeer(secret));
      await pair.right.addPeer({ ...pair.leftAsPeer(secret), allowedIps: [parsePrefix('10.83.9.9/32')] });
      expect(await pair.leftReachesRight()).toBe(false);
    });

    test('stop at once when either removes the other', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      await pair.join(randomBytes(32));
      expect(await pair.leftReachesRight()).toBe(true);
      await pair.right.removePeer(pair.leftKey);
      expect(await pair.leftReachesRight()).toBe(false);
    });

    test('change the pre-shared key by removing and adding again: one side alone ends the tunnel, both renew it', async () => {
      await using world = await makeWorld();
      await using pair = await openPair(world);
      await pair.join(randomBytes(32));
      expect(await pair.leftReachesRight()).toBe(true);
      const renewed = randomBytes(32);
      await pair.right.removePeer(pair.leftKey);
      await pair.right.addPeer(pair.leftAsPeer(renewed));
      expect(await pair.leftReachesRight()).toBe(false);
      await pair.left.removePeer(pair.rightKey);
      await pair.left.addPeer(pair.rightAsPeer(renewed));
      expect(await pair.leftReachesRight()).toBe(true);
    });
  });
}

const LEFT_INNER = '10.83.0.1';
const RIGHT_INNER = '10.83.0.2';
const MAIN_TABLE = 254;

function open(world: TunnelWorld, name = world.uniqueName(), privateKey = randomPrivateKey()): Promise<TunnelDevice> {
  return world.left.tunnels.create({ name, privateKey, listenPort: 0, mtu: 1420 });
}

/** With the private key that X25519 takes from any 32 bytes. */
function randomPrivateKey(): Uint8Array {
  return randomBytes(32);
}

function somePeer(...allowedIps: string[]): TunnelPeer {
  const { publicKey } = generateKeyPairSync('x25519');
  return {
    publicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32),
    presharedKey: randomBytes(32),
    allowedIps: allowedIps.map(parsePrefix),
    keepalive: 0,
  };
}

interface Pair extends AsyncDisposable {
  readonly left: TunnelDevice;
  readonly right: TunnelDevice;
  readonly leftKey: Uint8Array;
  readonly rightKey: Uint8Array;
  leftAsPeer(presharedKey: Uint8Array): TunnelPeer;
  rightAsPeer(presharedKey: Uint8Array): TunnelPeer;
  /** Each adds the other; only the left one knows where. */
  join(leftSecret: Uint8Array, rightSecret?: Uint8Array): Promise<void>;
  leftReachesRight(): Promise<boolean>;
  rightReachesLeft(): Promise<boolean>;
}

/** One device on each host, up, with an inner address and a route to the other's. */
async function openPair(world: TunnelWorld): Promise<Pair> {
  await using owned = new AsyncDisposableStack();
  const set = async (host: TunnelHost, own: string, other: string): Promise<[TunnelDevice, Uint8Array]> => {
    const privateKey = randomPrivateKey();
    const name = world.uniqueName();
    const device = owned.use(await host.tunnels.create({ name, privateKey, listenPort: 0, mtu: 1420 }));
    await host.network.addAddress(device.ifindex, hostPrefix(parseAddress(own)));
    await host.network.setUp(device.ifindex);
    const destination = hostPrefix(parseAddress(other));
    await host.network.addRoutes([{ destination, ifindex: device.ifindex, table: MAIN_TABLE }]);
    return [device, publicKeyOf(privateKey)];
  };
  const [left, leftKey] = await set(world.left, LEFT_INNER, RIGHT_INNER);
  const [right, rightKey] = await set(world.right, RIGHT_INNER, LEFT_INNER);
  const resources = owned.move();
  const leftAsPeer = (presharedKey: Uint8Array): TunnelPeer => ({
    publicKey: leftKey,
    presharedKey,
    allowedIps: [hostPrefix(parseAddress(LEFT_INNER))],
    keepalive: 0,
  });
  const rightAsPeer = (presharedKey: Uint8Array): TunnelPeer => ({
    publicKey: rightKey,
    presharedKey,
    endpoint: { address: world.right.address, port: right.listenPort },
    allowedIps: [hostPrefix(parseAddress(RIGHT_INNER))],
    keepalive: 0,
  });
  return {
    left,
    right,
    leftKey,
    rightKey,
    leftAsPeer,
    rightAsPeer,
    async join(leftSecret, rightSecret = leftSecret) {
      await right.addPeer(leftAsPeer(rightSecret));
      await left.addPeer(rightAsPeer(leftSecret));
    },
    leftReachesRight: () => world.left.reaches(left, LEFT_INNER, RIGHT_INNER),
    rightReachesLeft: () => world.right.reaches(right, RIGHT_INNER, LEFT_INNER),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function plain(bytes: Uint8Array | undefined): number[] {
  return [...(bytes ?? [])];
}
