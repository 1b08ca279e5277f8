import { createLinuxTunnels } from '../../src/dataplane/linux/tunnels.ts';
import { type Device, type DeviceSpec, type Make, MTU } from './device.ts';

/** The embedded WireGuard behind the tunnel port: peers one call each, as sessions bring them. */
export const embedded: Make = {
  name: 'ours',
  async open({ namespace, name, privateKey, listenPort }: DeviceSpec): Promise<Device> {
    const tunnels = createLinuxTunnels({ kind: 'embedded', namespace: namespace.path });
    const device = await tunnels.create({ name, privateKey, listenPort, mtu: MTU });
    await namespace.run('ip', ['link', 'set', name, 'up']);
    return {
      name,
      async addPeers(peers) {
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
  },
};
