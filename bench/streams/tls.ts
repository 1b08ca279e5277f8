import { once } from 'node:events';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { start } from '../../test/support/processes.ts';
import { cpuMicroseconds } from '../cpu.ts';
import type { Identities } from '../handshake/identities.ts';
import type { Contender } from '../harness.ts';
import { type Carry, costOf, warmUp } from './cost.ts';
import { type Direction, listen, transfer } from './transfer.ts';

/** Node's own TLS, as an end of the bytes and as a forwarder of them. */
export function tlsPeers(identities: Identities, directions: readonly Direction[]): readonly Contender[] {
  return [tls('node-tls', identities, directions), tls('node-tls-forward', identities, directions)];
}

function tls(
  name: 'node-tls' | 'node-tls-forward',
  identities: Identities,
  directions: readonly Direction[],
): Contender {
  return {
    name,
    async start() {
      await using stack = new AsyncDisposableStack();
      const target = await listen();
      stack.defer(() => void target.server.close());
      const kind = name === 'node-tls' ? ['ends'] : ['forwards', String(target.port)];
      const script = fileURLToPath(new URL('tls.server.ts', import.meta.url));
      const child = stack.use(start(process.execPath, [script, identities.directory, ...kind]));
      const port = Number((await child.line(/^listening \d+/)).split(' ')[1]);
      const owned = stack.move();
      const cpu = (): number => cpuMicroseconds(child.pid);
      const carry: Carry = async (direction, bytes) => {
        const { cert, key } = identities.client;
        const socket = connect({
          host: '127.0.0.1',
          port,
          ca: identities.ca,
          cert,
          key,
          // A SPIFFE ID is no host name; the chain is verified all the same.
          checkServerIdentity: () => undefined,
        });
        await once(socket, 'secureConnect');
        await transfer(socket, direction, bytes);
      };
      return {
        warmUp: () => warmUp(directions, carry),
        sample: () => costOf(directions, cpu, carry),
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
