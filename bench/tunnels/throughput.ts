import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { connect, createNamespace, type Namespace } from '../../test/support/namespaces.ts';
import type { Contender } from '../harness.ts';
import { deviceName, type End, type Make } from './device.ts';

/** Enough for a second or more at several Gbit/s: the start of a TCP stream is not what is measured. */
const BYTES = 512 * 1024 * 1024;
const WIREGUARD_PORT = 51_820;
const STREAM_PORT = 5201;
const SCRIPT = 'bench/tunnels/stream.ts';

/** Megabits a second of one TCP stream from one namespace to another, both ends on this machine. */
export function throughput(make: Make<End>): Contender {
  return {
    name: make.name,
    async start() {
      await using stack = new AsyncDisposableStack();
      const left = stack.use(await createNamespace('bench-left'));
      const right = stack.use(await createNamespace('bench-right'));
      await connect(
        { in: left, name: 'wan', addresses: ['192.0.2.1/24'] },
        { in: right, name: 'wan', addresses: ['192.0.2.2/24'] },
      );
      await tunnel(stack, make, left, right);
      const stream = ['10.9.0.2', String(STREAM_PORT), String(BYTES)];
      const source = right.startNode(SCRIPT, ['source', ...stream]);
      await source.line(/^listening/);
      const owned = stack.move();
      return {
        async sample() {
          await using child = left.startNode(SCRIPT, ['sink', ...stream]);
          const seconds = Number((await child.line(/^took /, 120_000)).split(' ')[1]) / 1000;
          return (BYTES * 8) / 1e6 / seconds;
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}

async function tunnel(stack: AsyncDisposableStack, make: Make<End>, left: Namespace, right: Namespace): Promise<void> {
  const keys = { left: nodeCrypto.x25519Generate(), right: nodeCrypto.x25519Generate() };
  const presharedKey = nodeCrypto.randomBytes(32);
  const open = async (namespace: Namespace, own: 'left' | 'right'): Promise<End> => {
    const other = own === 'left' ? 'right' : 'left';
    const [ownHost, otherHost] = own === 'left' ? [1, 2] : [2, 1];
    const privateKey = keys[own].exportPrivate();
    const name = deviceName();
    const device = stack.use(await make.open({ namespace, name, privateKey, listenPort: WIREGUARD_PORT }));
    await namespace.run('ip', ['address', 'add', `10.9.0.${ownHost}/24`, 'dev', name]);
    await device.addPeers([
      {
        publicKey: keys[other].publicKey,
        presharedKey,
        allowedIp: { address: Uint8Array.of(10, 9, 0, otherHost), length: 32 },
        endpoint: { address: `192.0.2.${otherHost}`, port: WIREGUARD_PORT },
      },
    ]);
    return device;
  };
  await open(left, 'left');
  await open(right, 'right');
}
