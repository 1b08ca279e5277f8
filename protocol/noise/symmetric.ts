import { ShellstreamError } from '../errors.ts';
import { CipherState, TAG_LENGTH } from './cipher.ts';
import type { AeadKey, CryptoProvider, SymmetricState, X25519KeyPair } from './crypto.ts';

/** The provider's own symmetric state, or the one below over its primitives. */
export function initializeSymmetric(crypto: CryptoProvider, protocolName: Uint8Array): SymmetricState {
  return crypto.symmetricState?.(protocolName) ?? new PortableSymmetricState(crypto, protocolName);
}

const HASH_LENGTH = 32;
const NOTHING = new Uint8Array(0);

/** Noise, section 5.2, over any provider. Wiping is best effort: the JavaScript engine may have moved a copy. */
class PortableSymmetricState implements SymmetricState {
  readonly #crypto: CryptoProvider;
  #h: Uint8Array;
  #ck: Uint8Array | undefined;
  #cipher: CipherState | undefined;

  constructor(crypto: CryptoProvider, protocolName: Uint8Array) {
    this.#crypto = crypto;
    this.#h = new Uint8Array(HASH_LENGTH);
    if (protocolName.length <= HASH_LENGTH) this.#h.set(protocolName);
    else this.#h = crypto.sha256(protocolName);
    this.#ck = Uint8Array.from(this.#h);
  }

  get tagLength(): 0 | 16 {
    return this.#cipher === undefined ? 0 : TAG_LENGTH;
  }

  mixHash(bytes: Uint8Array): void {
    this.#h = this.#crypto.sha256(this.#h, bytes);
  }

  mixDh(own: X25519KeyPair, peerPublicKey: Uint8Array): boolean {
    const shared = own.dh(peerPublicKey);
    if (shared === undefined) return false;
    const { first, second } = this.#hkdf2(shared);
    shared.fill(0);
    this.#ck = first;
    this.#cipher = new CipherState(this.#crypto.aead(second));
    second.fill(0);
    return true;
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.#cipher?.encryptWithAd(this.#h, plaintext) ?? plaintext;
    this.mixHash(ciphertext);
    return ciphertext;
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext =
      this.#cipher === undefined ? Uint8Array.from(ciphertext) : this.#cipher.decryptWithAd(this.#h, ciphertext);
    if (plaintext !== undefined) this.mixHash(ciphertext);
    return plaintext;
  }

  handshakeHash(): Uint8Array {
    return Uint8Array.from(this.#h);
  }

  split(): { readonly initiatorToResponder: AeadKey; readonly responderToInitiator: AeadKey } {
    const { first, second } = this.#hkdf2(NOTHING);
    const keys = { initiatorToResponder: this.#crypto.aead(first), responderToInitiator: this.#crypto.aead(second) };
    first.fill(0);
    second.fill(0);
    this.destroy();
    return keys;
  }

  destroy(): void {
    this.#ck?.fill(0);
    this.#ck = undefined;
    this.#cipher = undefined;
  }

  /** HKDF of the specification with two outputs: RFC 5869 with the chaining key as salt and an empty info. */
  #hkdf2(inputKeyMaterial: Uint8Array): { readonly first: Uint8Array; readonly second: Uint8Array } {
    if (this.#ck === undefined) throw new ShellstreamError('INTERNAL', 'a symmetric state was used after its end');
    const output = this.#crypto.hkdfSha256(this.#ck, inputKeyMaterial, NOTHING, 2 * HASH_LENGTH);
    this.#ck.fill(0);
    this.#ck = undefined;
    // Copies: a provider may return a Buffer, whose own slice() is a view of what is wiped below.
    const first = Uint8Array.from(output.subarray(0, HASH_LENGTH));
    const second = Uint8Array.from(output.subarray(HASH_LENGTH));
    output.fill(0);
    return { first, second };
  }
}
