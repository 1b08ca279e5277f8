import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { ShellstreamError } from '../errors.ts';
import type { AeadKey, CryptoProvider, X25519KeyPair } from './crypto.ts';

/**
 * The primitives in plain JavaScript, for browsers. `randomBytes` must be cryptographic:
 * `(length) => globalThis.crypto.getRandomValues(new Uint8Array(length))`.
 */
export function nobleCrypto(randomBytes: (length: number) => Uint8Array): CryptoProvider {
  return {
    name: 'noble',
    randomBytes,
    x25519Generate: () => keyPair(randomBytes(KEY_LENGTH)),
    x25519FromPrivate: (scalar) => keyPair(Uint8Array.from(scalar)),
    sha256(...parts) {
      const hash = sha256.create();
      for (const part of parts) hash.update(part);
      return hash.digest();
    },
    hmacSha256(key, ...parts) {
      const mac = hmac.create(sha256, key);
      for (const part of parts) mac.update(part);
      return mac.digest();
    },
    hkdfSha256: (salt, ikm, info, length) => hkdf(sha256, ikm, salt, info, length),
    aead,
  };
}

/** ChaCha20-Poly1305 under any 12-byte nonce, as the public vectors want it. */
export function sealWithNonce(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  return chacha20poly1305(key, nonce, ad).encrypt(plaintext);
}

export function openWithNonce(
  key: Uint8Array,
  nonce: Uint8Array,
  ad: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  if (ciphertext.length < TAG_LENGTH) return undefined;
  try {
    return chacha20poly1305(key, nonce, ad).decrypt(ciphertext);
  } catch {
    return undefined; // key and nonce have their lengths: what is left to fail is the tag
  }
}

const KEY_LENGTH = 32;
const TAG_LENGTH = 16;
const NOTHING = new Uint8Array(0);

function keyPair(privateKey: Uint8Array): X25519KeyPair {
  if (privateKey.length !== KEY_LENGTH) throw new ShellstreamError('INTERNAL', 'an X25519 private key has 32 bytes');
  return {
    publicKey: x25519.getPublicKey(privateKey),
    dh(peerPublicKey) {
      if (peerPublicKey.length !== KEY_LENGTH) return undefined;
      try {
        return x25519.getSharedSecret(privateKey, peerPublicKey);
      } catch {
        return undefined; // lengths are right: it refuses an all-zero result
      }
    },
    exportPrivate: () => Uint8Array.from(privateKey),
  };
}

function aead(key: Uint8Array): AeadKey {
  if (key.length !== KEY_LENGTH) throw new ShellstreamError('INTERNAL', 'a ChaCha20-Poly1305 key has 32 bytes');
  const own = Uint8Array.from(key);
  return {
    seal: (counter, ad, plaintext) => sealWithNonce(own, noiseNonce(counter), ad, plaintext),
    open: (counter, ad, ciphertext) => openWithNonce(own, noiseNonce(counter), ad, ciphertext),
    sealInPlace(counter, bytes) {
      bytes.set(sealWithNonce(own, noiseNonce(counter), NOTHING, bytes.subarray(0, bytes.length - TAG_LENGTH)));
    },
    openInPlace: (counter, ciphertext) => openWithNonce(own, noiseNonce(counter), NOTHING, ciphertext),
  };
}

function noiseNonce(counter: bigint): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, counter, true);
  return nonce;
}
