/** One TCP stream through the kernel's WireGuard and through the embedded one, in turns: a ratio, for both are emulated. */
import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { type Contender, measure, type Subject } from '../../../bench/harness.ts';
import { parseAddress } from '../../../protocol/net/address.ts';
import { hostPrefix } from '../../../protocol/net/prefix.ts';
import type { LinuxTunnelKind } from '../../../src/dataplane/linux/tunnels.ts';
import { publicKeyOf } from '../../../src/dataplane/tunnel-rules.ts';
import { createLinuxWorld, uniqueName } from '../../dataplane/hosts.ts';
import type { Tally } from '../../runner/tally.ts';
import { checks } from './checks.ts';
import { send } from './send.ts';

const BYTES = 8 * 1024 * 1024;
const RUNS = 3;
const PORT = 5201;
const [LEFT, RIGHT] = ['10.83.0.1', '10.83.0.2'] as const;
const STREAM = 'bench/tunnels/stream.ts';

export async function throughput(): Promise<Tally> {
  const { check, tally } = checks();
  await check('a stream goes through the kernel’s WireGuard and through the embedded one', async () => {
    const contenders = { ours: contender('embedded'), peers: [contender('kernel')] };
    const figure = await measure({ bench: 'kernel-tier/tunnels', unit: 'Mbit/s', ...contenders }, RUNS);
    send({ kind: 'figure', figure });
  });
  return tally();
}

const contender = (kind: LinuxTunnelKind): Contender => ({ name: kind, start: () => openPath(kind) });

/** Two namespaces with a tunnel between them; both ends in this process, where they are in any. */
async function openPath(kind: LinuxTunnelKind): Promise<Subject> {
  await using owned = new AsyncDisposableStack();
  const world = owned.use(await createLinuxWorld(kind));
  const sides = await Promise.all(
    [
      { host: world.left, inner: LEFT },
      { host: world.right, inner: RIGHT },
    ].map(async ({ host, inner }) => {
      const spec = { name: uniqueName(), privateKey: randomBytes(32), listenPort: 0, mtu: 1420 };
      const device = owned.use(await host.tunnels.create(spec));
      await host.network.addAddress(device.ifindex, { address: parseAddress(inner), length: 24 });
      await host.network.setUp(device.ifindex);
      const endpoint = { address: host.address, port: device.listenPort };
      const allowedIps = [hostPrefix(parseAddress(inner))];
      return { device, peer: { publicKey: publicKeyOf(spec.privateKey), allowedIps, endpoint, keepalive: 0 } };
    }),
  );
  const [left, right] = sides;
  assert.ok(left !== undefined && right !== undefined);
  const presharedKey = randomBytes(32);
  await left.device.addPeer({ ...right.peer, presharedKey });
  await right.device.addPeer({ ...left.peer, presharedKey });
  const args = [RIGHT, String(PORT), String(BYTES)];
  await world.right.namespace.startNode(STREAM, ['source', ...args]).line(/^listening/);
  const resources = owned.move();
  return {
    async sample() {
      await using sink = world.left.namespace.startNode(STREAM, ['sink', ...args]);
      const took = Number((await sink.line(/^took /, 180_000)).split(' ')[1]);
      return (BYTES * 8) / 1000 / took;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
