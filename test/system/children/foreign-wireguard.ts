/** Somebody else's WireGuard on this host: opens the device named, up, with one peer, says `up`, and stays until SIGTERM. */
import { randomBytes } from 'node:crypto';
import { parsePrefix } from '../../../protocol/net/prefix.ts';
import { createLinuxNetwork } from '../../../src/dataplane/linux/network.ts';
import { createLinuxTunnels } from '../../../src/dataplane/linux/tunnels.ts';

const [name = ''] = process.argv.slice(2);
const tunnels = createLinuxTunnels({ kind: 'embedded' });
const device = await tunnels.create({ name, privateKey: randomBytes(32), listenPort: 0, mtu: 1420 });
await createLinuxNetwork().setUp(device.ifindex);
await device.addPeer({
  publicKey: randomBytes(32),
  presharedKey: randomBytes(32),
  allowedIps: [parsePrefix('198.51.100.0/24')],
  keepalive: 0,
});
process.once('SIGTERM', () => void device[Symbol.asyncDispose]().then(() => process.exit(0)));
console.log('up');
process.stdin.resume();
