import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Ed25519, type NoteSigner, noteKey, type Sha256 } from '../../protocol/evidence/index.ts';
import { plain } from '../base/crypto-node.ts';

/** Ed25519 of node:crypto, ten times as fast as the one that also runs in browsers. */
export const nodeEd25519: Ed25519 = {
  verify(publicKey, message, signature) {
    if (publicKey.length !== KEY_BYTES || signature.length !== 2 * KEY_BYTES) return false;
    try {
      const x = Buffer.from(publicKey).toString('base64url');
      const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
      return verify(null, message, key, signature);
    } catch {
      return false; // bytes that are no point of the curve
    }
  },
};

/** A log's own signer. @param seed Ed25519 private key, 32 bytes. */
export function noteSigner(sha256: Sha256, name: string, seed: Uint8Array): NoteSigner {
  if (seed.length !== KEY_BYTES) throw new ShellstreamError('INTERNAL', 'an Ed25519 private key has 32 bytes');
  const der = Buffer.concat([PKCS8_PREFIX, seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  const key = noteKey(sha256, 'log', name, publicKeyOf(privateKey));
  return { ...key, sign: (message) => plain(sign(null, message, privateKey)) };
}

const KEY_BYTES = 32;
/** DER of a PrivateKeyInfo for Ed25519 up to the seed (RFC 8410, section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

function publicKeyOf(privateKey: KeyObject): Uint8Array {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  if (x === undefined) throw new ShellstreamError('INTERNAL', 'a key object without its part');
  return plain(Buffer.from(x, 'base64url'));
}
