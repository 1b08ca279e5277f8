import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { createNamespace } from '../../test/support/namespaces.ts';
import type { Contender } from '../harness.ts';
import { deviceName, type Make, type Peer } from './device.ts';

const PEERS = 1000;

/** Milliseconds until a device has a thousand peers, each with a pre-shared key and an address. */
export function manyPeers(make: Make): Contender {
  return {
    name: make.name,
    async start() {
      await using stack = new AsyncDisposableStack();
      const namespace = stack.use(await createNamespace('bench-peers'));
      const { x25519Generate, randomBytes } = nodeCrypto;
      const privateKey = x25519Generate().exportPrivate();
      const device = stack.use(await make.open({ namespace, name: deviceName(), privateKey, listenPort: 0 }));
      const peers = Array.from(
        { length: PEERS },
        (_, index): Peer => ({
          publicKey: x25519Generate().publicKey,
          presharedKey: randomBytes(32),
          allowedIp: { address: Uint8Array.of(10, 9, index >> 8, index & 0xff), length: 32 },
        }),
      );
      const owned = stack.move();
      return {
        async sample() {
          const begun = performance.now();
          await device.addPeers(peers);
          const took = performance.now() - begun;
          const count = await device.peerCount();
          if (count !== PEERS) throw new Error(`${count} peers are there instead of ${PEERS}`);
          await device.removeAllPeers();
          return took;
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
