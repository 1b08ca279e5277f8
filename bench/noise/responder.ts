import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { noiseXX } from '../../protocol/noise/index.ts';
import type { Contender } from '../harness.ts';

const PROLOGUE = Buffer.from('shellstream/1');
/** About what evidence takes. */
const PAYLOAD = new Uint8Array(200);

/** Microseconds of CPU that the responder's half of one Noise XX takes in this process: the median of many. */
export function xxResponder(name: string, provider: () => CryptoProvider, handshakes: number): Contender {
  return {
    name,
    async start() {
      const crypto = provider();
      const keys = { initiator: crypto.x25519Generate(), responder: crypto.x25519Generate() };
      return {
        async sample() {
          const costs = Array.from({ length: handshakes }, () => oneHandshake(crypto, keys)).sort((a, b) => a - b);
          return costs[costs.length >> 1] ?? Number.NaN;
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  };
}

type KeyPair = ReturnType<CryptoProvider['x25519Generate']>;

function oneHandshake(crypto: CryptoProvider, keys: { initiator: KeyPair; responder: KeyPair }): number {
  const parameters = { crypto, prologue: PROLOGUE };
  const one = noiseXX.initiator({ ...parameters, staticKey: keys.initiator }).writeMessage(PAYLOAD);
  const begun = performance.now();
  const two = noiseXX
    .responder({ ...parameters, staticKey: keys.responder })
    .readMessage(one.message)
    ?.next.writeMessage(PAYLOAD);
  const paused = performance.now();
  const three = two && one.next.readMessage(two.message)?.next.writeMessage(PAYLOAD);
  const resumed = performance.now();
  const ends = three && two?.next.readMessage(three.message)?.next.split();
  const ended = performance.now();
  if (ends === undefined) throw new Error('the handshake was refused');
  return (paused - begun + ended - resumed) * 1000;
}
