import { type KeyObject, sign, verify } from 'node:crypto';
import { existsSync } from 'node:fs';
import { loadAddon, NATIVE_ADDON } from './crypto-native.ts';

/**
 * ECDSA over P-256 with SHA-256, signatures in DER: what nearly every SVID signs with, and the dearest part of a
 * handshake beside X25519. Native where the addon was built (a key parsed once, no key object looked up at each
 * call), else node:crypto.
 */
export interface P256 {
  readonly name: 'native' | 'node';
  signer(privateKey: KeyObject): (message: Uint8Array) => Uint8Array;
  verifier(publicKey: KeyObject): (message: Uint8Array, signature: Uint8Array) => boolean;
}

export function loadP256(): P256 {
  return existsSync(NATIVE_ADDON) ? nativeP256() : nodeP256;
}

export const nodeP256: P256 = {
  name: 'node',
  signer: (key) => (message) => sign('sha256', message, { key, dsaEncoding: 'der' }),
  verifier: (key) => (message, signature) => verify('sha256', message, { key, dsaEncoding: 'der' }, signature),
};

export function nativeP256(): P256 {
  const { P256Signer, P256Verifier } = loadAddon();
  return {
    name: 'native',
    signer(privateKey) {
      const key = P256Signer.fromPkcs8(privateKey.export({ type: 'pkcs8', format: 'der' }));
      return (message) => key.sign(message);
    },
    verifier(publicKey) {
      const key = P256Verifier.fromSpki(publicKey.export({ type: 'spki', format: 'der' }));
      return (message, signature) => key.verify(message, signature);
    },
  };
}
