import { ShellstreamError } from '../errors.ts';
import type { AeadKey } from './crypto.ts';

/** Bytes of a Poly1305 tag. */
export const TAG_LENGTH = 16;

/** The last counter is reserved for rekeying (Noise, section 5.1): a key seals and opens fewer messages than this. */
export const NONCE_LIMIT = 2n ** 64n - 1n;

/** CipherState of the Noise specification, section 5.1, with its key set: one direction, one counter. */
export class CipherState {
  readonly #key: AeadKey;
  #n: bigint;

  constructor(key: AeadKey, n = 0n) {
    this.#key = key;
    this.#n = n;
  }

  /** Throws when the counter is used up: a repeated nonce would give both plaintexts away. */
  encryptWithAd(associatedData: Uint8Array, plaintext: Uint8Array): Uint8Array {
    if (this.#n >= NONCE_LIMIT) throw new ShellstreamError('INTERNAL', 'the counter of a cipher key is used up');
    const ciphertext = this.#key.seal(this.#n, associatedData, plaintext);
    this.#n += 1n;
    return ciphertext;
  }

  /** Undefined when authentication fails or the counter is used up; the counter stays where it was. */
  decryptWithAd(associatedData: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    if (this.#n >= NONCE_LIMIT || ciphertext.length < TAG_LENGTH) return undefined;
    const plaintext = this.#key.open(this.#n, associatedData, ciphertext);
    if (plaintext !== undefined) this.#n += 1n;
    return plaintext;
  }

  /** As `encryptWithAd` without associated data, over the plaintext and the 16 bytes behind it. */
  encryptInPlace(bytes: Uint8Array): void {
    if (this.#n >= NONCE_LIMIT) throw new ShellstreamError('INTERNAL', 'the counter of a cipher key is used up');
    this.#key.sealInPlace(this.#n, bytes);
    this.#n += 1n;
  }

  /** As `decryptWithAd` without associated data; the ciphertext is gone. */
  decryptInPlace(ciphertext: Uint8Array): Uint8Array | undefined {
    if (this.#n >= NONCE_LIMIT || ciphertext.length < TAG_LENGTH) return undefined;
    const plaintext = this.#key.openInPlace(this.#n, ciphertext);
    if (plaintext !== undefined) this.#n += 1n;
    return plaintext;
  }
}
