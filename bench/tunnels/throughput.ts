import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { connect, createNamespace, type Namespace } from '../../test/support/namespaces.ts';
import { cpuMicroseconds } from '../cpu.ts';
import type { Contender } from '../harness.ts';
import { deviceName, type End, type Make } from './device.ts';

/** Enough for a second or more at several Gbit/s: the start of a TCP stream is not what is measured. */
const BYTES = 512 * 1024 * 1024;
const WIREGUARD_PORT = 51_820;
const STREAM_PORT = 5201;
const SCRIPT = 'bench/tunnels/stream.ts';

/** Megabits a second of one TCP stream from one namespace to another, both ends on this machine. */
export function throughput(make: Make<End>): Contender {
  return stream(make, async (_, run) => (BYTES * 8) / 1e6 / (await run()));
}

/**
 * Milliseconds of CPU, of both ends together, for a gigabyte of such a stream. What else runs on the machine takes
 * time from a stream, and more of it from the make that has fewer threads; it hardly changes this.
 */
export function cost(make: Make<End>): Contender {
  return stream(make, async (ends, run) => {
    const used = (): number => ends.reduce((sum, { pid }) => sum + cpuMicroseconds(pid), 0) / 1000;
    const before = used();
    await run();
    return (used() - before) / (BYTES / 1e9);
  });
}

/** @param sample takes one; `run` sends the stream once and answers the seconds it took. */
function stream(
  make: Make<End>,
  sample: (ends: readonly End[], run: () => Promise<number>) => Promise<number>,
): Contender {
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
      const ends = await tunnel(stack, make, left, right);
      const args = ['10.9.0.2', String(STREAM_PORT), String(BYTES)];
      const source = right.startNode(SCRIPT, ['source', ...args]);
      await source.line(/^listening/);
      const run = async (): Promise<number> => {
        await using child = left.startNode(SCRIPT, ['sink', ...args]);
        return Number((await child.line(/^took /, 120_000)).split(' ')[1]) / 1000;
      };
      const owned = stack.move();
      return { sample: () => sample(ends, run), [Symbol.asyncDispose]: () => owned.disposeAsync() };
    },
  };
}

async function tunnel(
  stack: AsyncDisposableStack,
  make: Make<End>,
  left: Namespace,
  right: Namespace,
): Promise<readonly End[]> {
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
  return [await open(left, 'left'), await open(right, 'right')];
}
