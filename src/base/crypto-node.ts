import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { AeadKey, CryptoProvider, X25519KeyPair } from '../../protocol/noise/crypto.ts';

/** The primitives from node:crypto: for hosts without the native addon. */
export const nodeCrypto: CryptoProvider = {
  name: 'node',
  randomBytes: (length) => plain(randomBytes(length)),
  x25519Generate() {
    const { privateKey, publicKey } = generateKeyPairSync('x25519');
    return keyPair(privateKey, publicKey);
  },
  x25519FromPrivate(scalar) {
    if (scalar.length !== 32) throw new ShellstreamError('INTERNAL', 'an X25519 private key has 32 bytes');
    const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, scalar]), format: 'der', type: 'pkcs8' });
    return keyPair(privateKey, createPublicKey(privateKey));
  },
  sha256(...parts) {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return plain(hash.digest());
  },
  hmacSha256(key, ...parts) {
    const hmac = createHmac('sha256', key);
    for (const part of parts) hmac.update(part);
    return plain(hmac.digest());
  },
  hkdfSha256(salt, ikm, info, length) {
    if (length > 255 * 32) throw new ShellstreamError('INTERNAL', 'HKDF-SHA-256 gives at most 8160 bytes');
    return new Uint8Array(hkdfSync('sha256', ikm, salt, info, length));
  },
  aead(key) {
    return nodeAead(key);
  },
};

/** ChaCha20-Poly1305 under any 12-byte nonce, as the public vectors want it. */
export function sealWithNonce(key: Uint8Array, nonce: Uint8Array, ad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv(AEAD, key, nonce, AEAD_OPTIONS);
  cipher.setAAD(ad, { plaintextLength: plaintext.length });
  const body = cipher.update(plaintext);
  cipher.final();
  return plain(Buffer.concat([body, cipher.getAuthTag()]));
}

export function openWithNonce(
  key: Uint8Array,
  nonce: Uint8Array,
  ad: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  if (ciphertext.length < TAG_LENGTH) return undefined;
  const body = ciphertext.subarray(0, ciphertext.length - TAG_LENGTH);
  const decipher = createDecipheriv(AEAD, key, nonce, AEAD_OPTIONS);
  decipher.setAAD(ad, { plaintextLength: body.length });
  decipher.setAuthTag(ciphertext.subarray(body.length));
  const plaintext = decipher.update(body);
  try {
    decipher.final();
  } catch {
    return undefined; // the only thing that final() reports here is a tag that does not fit
  }
  return plain(plaintext);
}

/** The same bytes without Buffer's methods: its `slice` is a view, where a Uint8Array's is the copy that callers expect. */
export function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

const AEAD = 'chacha20-poly1305';
const TAG_LENGTH = 16;
const NOTHING = new Uint8Array(0);
const AEAD_OPTIONS = { authTagLength: TAG_LENGTH } as const;
/** DER of a PrivateKeyInfo for X25519 up to the scalar (RFC 8410, section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

function nodeAead(key: Uint8Array): AeadKey {
  if (key.length !== 32) throw new ShellstreamError('INTERNAL', 'a ChaCha20-Poly1305 key has 32 bytes');
  const own = Uint8Array.from(key);
  const nonce = Buffer.alloc(12);
  const at = (counter: bigint): Buffer => {
    nonce.writeBigUInt64LE(counter, 4);
    return nonce;
  };
  return {
    seal: (counter, ad, plaintext) => sealWithNonce(own, at(counter), ad, plaintext),
    open: (counter, ad, ciphertext) => openWithNonce(own, at(counter), ad, ciphertext),
    sealInPlace(counter, bytes) {
      bytes.set(sealWithNonce(own, at(counter), NOTHING, bytes.subarray(0, bytes.length - TAG_LENGTH)));
    },
    openInPlace: (counter, ciphertext) => openWithNonce(own, at(counter), NOTHING, ciphertext),
  };
}

function keyPair(privateKey: KeyObject, publicKey: KeyObject): X25519KeyPair {
  return {
    publicKey: fromBase64url(publicKey.export({ format: 'jwk' }).x),
    dh(peerPublicKey) {
      if (peerPublicKey.length !== 32) return undefined;
      const x = Buffer.from(peerPublicKey).toString('base64url');
      const peer = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
      try {
        return plain(diffieHellman({ privateKey, publicKey: peer }));
      } catch {
        return undefined; // OpenSSL refuses an all-zero result
      }
    },
    exportPrivate: () => fromBase64url(privateKey.export({ format: 'jwk' }).d),
  };
}

function fromBase64url(text: string | undefined): Uint8Array {
  if (text === undefined) throw new ShellstreamError('INTERNAL', 'a key object without its part');
  return plain(Buffer.from(text, 'base64url'));
}
