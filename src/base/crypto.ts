import { existsSync } from 'node:fs';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { loadNativeCrypto, NATIVE_ADDON } from './crypto-native.ts';
import { nodeCrypto } from './crypto-node.ts';

/**
 * The provider for this process: native where the addon was built, else node:crypto at several times the cost;
 * `name` says which. An addon that is there and does not load is an error, not a reason to be slow in silence.
 */
export function loadCryptoProvider(): CryptoProvider {
  return existsSync(NATIVE_ADDON) ? loadNativeCrypto() : nodeCrypto;
}
