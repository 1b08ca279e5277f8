import { type NoteSigner, noteKey, type Sha256 } from '../../protocol/evidence/index.ts';
import { ed25519Signer } from '../base/ed25519.ts';

export { nodeEd25519 } from '../base/ed25519.ts';

/** A log's own signer. @param seed Ed25519 private key, 32 bytes. */
export function noteSigner(sha256: Sha256, name: string, seed: Uint8Array): NoteSigner {
  const { publicKey, sign } = ed25519Signer(seed);
  return { ...noteKey(sha256, 'log', name, publicKey), sign };
}
