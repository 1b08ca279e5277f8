import { nobleCrypto } from '../../protocol/noise/crypto-noble.ts';
import { loadNativeCrypto } from '../../src/base/crypto-native.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import type { Bench } from '../harness.ts';
import { goNoise } from './go-noise.ts';
import { xxResponder } from './responder.ts';

/** The responder's half of Noise XX with each crypto provider, and with another's Noise library. */
export async function openNoise(): Promise<Bench> {
  const random = (length: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(length));
  return {
    figures: [
      {
        bench: 'noise',
        unit: 'us',
        ours: xxResponder('ours', loadNativeCrypto, 1000),
        peers: [
          xxResponder('node-provider', () => nodeCrypto, 300),
          xxResponder('noble-provider', () => nobleCrypto(random), 30),
          goNoise,
        ],
      },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
