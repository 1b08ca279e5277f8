import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpuMicroseconds } from '../cpu.ts';
import type { Contender } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { LOOPBACK_FOR_ALL, startGatewaySite } from '../lib/gateway-site.ts';
import { type Carry, costOf, warmUp } from './cost.ts';
import type { Direction } from './transfer.ts';

/** The real gateway: bytes of a session's stream forwarded to a TCP target, or from it. */
export function gatewayStreams(directory: string, directions: readonly Direction[]): Contender {
  return {
    name: 'ours',
    async start() {
      await using stack = new AsyncDisposableStack();
      const label = directions.join('');
      const options = { label, directory: join(directory, label), accord: LOOPBACK_FOR_ALL };
      const site = stack.use(await startGatewaySite({ ...options, config: { terminators: { count: 1 } } }));
      const script = fileURLToPath(new URL('ours.client.ts', import.meta.url));
      const client = await Commanded.ready(site.startClient(script));
      const owned = stack.move();
      const cpu = (): number => cpuMicroseconds(site.pid);
      const carry: Carry = async (direction, bytes) => {
        await client.command(direction, String(bytes));
      };
      return {
        warmUp: () => warmUp(directions, carry),
        sample: () => costOf(directions, cpu, carry),
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
