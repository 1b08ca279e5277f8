/** Opens the devices named, up, and says `up`. Then it stays; with `--leave` first it sets exit code 7 and lets Node end. */
import { randomBytes } from 'node:crypto';
import { createLinuxNetwork } from '../../../src/dataplane/linux/network.ts';
import { createLinuxTunnels } from '../../../src/dataplane/linux/tunnels.ts';

const [first, ...rest] = process.argv.slice(2);
const isLeaving = first === '--leave';
const tunnels = createLinuxTunnels({ kind: 'embedded' });
const network = createLinuxNetwork();
for (const name of isLeaving ? rest : [first ?? '', ...rest]) {
  const device = await tunnels.create({ name, privateKey: randomBytes(32), listenPort: 0, mtu: 1420 });
  await network.setUp(device.ifindex);
}
process.exitCode = 7;
console.log('up');
if (!isLeaving) process.stdin.resume();
