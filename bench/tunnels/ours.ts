import { createLinuxTunnels } from '../../src/dataplane/linux/tunnels.ts';
import { type Device, type DeviceSpec, type End, type Make, MTU, type Peer } from './device.ts';

/** The embedded WireGuard behind the tunnel port: peers one call each, as sessions bring them. */
export const embedded: Make = {
  name: 'ours',
  async open({ namespace, ...spec }: DeviceSpec): Promise<Device> {
    const device = await openEmbedded({ ...spec, namespace: namespace.path });
    await namespace.run('ip', ['link', 'set', spec.name, 'up']);
    return device;
  },
};

/** The same, every end in a process of its own, as gateways and wireguard-go have it. */
export const embeddedAlone: Make<End> = {
  name: 'ours',
  async open({ namespace, name, privateKey, listenPort }: DeviceSpec): Promise<End> {
    await using stack = new AsyncDisposableStack();
    const args = [namespace.path, name, base64(privateKey), String(listenPort)];
    const child = stack.use(namespace.startNode('bench/tunnels/end.server.ts', args));
    await child.line(/^open$/);
    await namespace.run('ip', ['link', 'set', name, 'up']);
    const owned = stack.move();
    return {
      name,
      pid: child.pid,
      async addPeers(peers) {
        for (const { publicKey, presharedKey, allowedIp, endpoint } of peers) {
          const allowed = { address: base64(allowedIp.address), length: allowedIp.length };
          const row = {
            publicKey: base64(publicKey),
            presharedKey: base64(presharedKey),
            allowedIp: allowed,
            endpoint,
          };
          child.write(`${JSON.stringify(row)}\n`);
          await child.line(/^added$/);
        }
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

export async function openEmbedded(spec: Omit<DeviceSpec, 'namespace'> & { namespace: string }): Promise<Device> {
  const { namespace, name, privateKey, listenPort } = spec;
  const device = await createLinuxTunnels({ kind: 'embedded', namespace }).create({
    name,
    privateKey,
    listenPort,
    mtu: MTU,
  });
  return {
    name,
    pid: process.pid,
    async addPeers(peers: readonly Peer[]) {
      for (const { publicKey, presharedKey, allowedIp, endpoint } of peers) {
        await device.addPeer({
          publicKey,
          presharedKey,
          allowedIps: [allowedIp],
          keepalive: 0,
          ...(endpoint === undefined ? {} : { endpoint }),
        });
      }
    },
    removeAllPeers: () => device.removeAllPeers(),
    peerCount: async () => (await device.peers()).length,
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
