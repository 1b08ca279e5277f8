import { existsSync } from 'node:fs';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import * as noble from '../../protocol/noise/crypto-noble.ts';
import { loadAddon, loadNativeCrypto, NATIVE_ADDON } from './crypto-native.ts';
import * as node from './crypto-node.ts';

/** A provider with what only the public vectors need: ChaCha20-Poly1305 under any 12-byte nonce. */
export interface ProviderUnderTest {
  readonly provider: CryptoProvider;
  sealWithNonce(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, plaintext: Uint8Array): Uint8Array;
  openWithNonce(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined;
}

const NATIVE_IS_BUILT = existsSync(NATIVE_ADDON);

/** Every provider that this checkout can run: node:crypto, noble, and the addon where it was built. */
export const PROVIDERS: readonly ProviderUnderTest[] = [
  { provider: node.nodeCrypto, sealWithNonce: node.sealWithNonce, openWithNonce: node.openWithNonce },
  {
    provider: noble.nobleCrypto((length) => globalThis.crypto.getRandomValues(new Uint8Array(length))),
    sealWithNonce: noble.sealWithNonce,
    openWithNonce: noble.openWithNonce,
  },
  ...(NATIVE_IS_BUILT ? [native()] : []),
];

function native(): ProviderUnderTest {
  const addon = loadAddon();
  return {
    provider: loadNativeCrypto(),
    sealWithNonce(key, nonce, ad, plaintext) {
      const output = new Uint8Array(plaintext.length + 16);
      addon.AeadKey.fromBytes(key).sealWithNonce(output, nonce, ad, plaintext);
      return output;
    },
    openWithNonce(key, nonce, ad, ciphertext) {
      const output = new Uint8Array(Math.max(ciphertext.length - 16, 0));
      return addon.AeadKey.fromBytes(key).openWithNonce(output, nonce, ad, ciphertext) ? output : undefined;
    },
  };
}
