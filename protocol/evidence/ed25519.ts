import { ed25519 } from '@noble/curves/ed25519.js';

/** Ed25519 of RFC 8032. node:crypto gives it in the daemon, the noble one below in a browser. */
export interface Ed25519 {
  /** False for anything that is no signature, whatever its length. Never throws. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export const nobleEd25519: Ed25519 = {
  verify(publicKey, message, signature) {
    try {
      // RFC 8032's own rules, not ZIP 215's looser ones: one signature must not be good here and bad in Go.
      return ed25519.verify(signature, message, publicKey, { zip215: false });
    } catch {
      return false;
    }
  },
};
