import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Addon from '../../native/crypto/crypto.d.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { AeadKey, CryptoProvider, SymmetricState, X25519KeyPair } from '../../protocol/noise/crypto.ts';
import { plain } from './crypto-node.ts';

/** Where the build puts the addon. */
export const NATIVE_ADDON = fileURLToPath(new URL('../../native/crypto/crypto.node', import.meta.url));

/**
 * The primitives of AWS-LC. Private keys, DH results and handshake secrets stay in the addon's own objects.
 * Throws when the addon is not built or does not fit this machine.
 */
export function loadNativeCrypto(): CryptoProvider {
  const addon = loadAddon();
  return {
    name: 'native',
    randomBytes: (length) => filled(length, (output) => addon.randomBytes(output)),
    x25519Generate: () => new NativeKeyPair((publicKey) => addon.X25519Key.generate(publicKey)),
    x25519FromPrivate: (scalar) => new NativeKeyPair((publicKey) => addon.X25519Key.fromPrivate(publicKey, scalar)),
    sha256: (first = NOTHING, ...rest) => filled(32, (output) => addon.sha256(output, first, joined(rest))),
    hmacSha256: (key, ...parts) => filled(32, (output) => addon.hmacSha256(output, key, joined(parts))),
    hkdfSha256(salt, ikm, info, length) {
      return filled(length, (output) => addon.hkdfSha256(output, salt, ikm, info));
    },
    aead: (key) => nativeAead(addon.AeadKey.fromBytes(key)),
    symmetricState: (protocolName) => new NativeSymmetricState(addon.NoiseSymmetricState.initialize(protocolName)),
  };
}

/** The addon itself: for vectors with nonces that Noise never uses. */
export function loadAddon(): typeof Addon {
  try {
    return createRequire(import.meta.url)(NATIVE_ADDON) as typeof Addon;
  } catch (cause) {
    throw new ShellstreamError('INTERNAL', 'the native crypto addon does not load', { cause });
  }
}

const KEY_LENGTH = 32;
const TAG_LENGTH = 16;
const NOTHING = new Uint8Array(0);

class NativeKeyPair implements X25519KeyPair {
  readonly native: Addon.X25519Key;
  readonly publicKey: Uint8Array;

  constructor(make: (publicKey: Uint8Array) => Addon.X25519Key) {
    this.publicKey = new Uint8Array(KEY_LENGTH);
    this.native = make(this.publicKey);
  }

  dh(peerPublicKey: Uint8Array): Uint8Array | undefined {
    const output = new Uint8Array(KEY_LENGTH);
    return this.native.dh(output, peerPublicKey) ? output : undefined;
  }

  exportPrivate(): Uint8Array {
    const output = new Uint8Array(KEY_LENGTH);
    this.native.exportPrivate(output);
    return output;
  }
}

class NativeSymmetricState implements SymmetricState {
  readonly #native: Addon.NoiseSymmetricState;
  #tagLength: 0 | 16 = 0;

  constructor(native: Addon.NoiseSymmetricState) {
    this.#native = native;
  }

  get tagLength(): 0 | 16 {
    return this.#tagLength;
  }

  mixHash(bytes: Uint8Array): void {
    this.#native.mixHash(bytes);
  }

  mixDh(own: X25519KeyPair, peerPublicKey: Uint8Array): boolean {
    if (!(own instanceof NativeKeyPair)) throw new ShellstreamError('INTERNAL', 'a key pair of another provider');
    const mixed = this.#native.mixDh(own.native, peerPublicKey);
    if (mixed) this.#tagLength = TAG_LENGTH;
    return mixed;
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    return filled(plaintext.length + this.#tagLength, (output) => this.#native.encryptAndHash(output, plaintext));
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    return opened(ciphertext.length - this.#tagLength, (output) => this.#native.decryptAndHash(output, ciphertext));
  }

  handshakeHash(): Uint8Array {
    return filled(32, (output) => this.#native.handshakeHash(output));
  }

  split(): { readonly initiatorToResponder: AeadKey; readonly responderToInitiator: AeadKey } {
    const [first, second] = this.#native.split();
    return { initiatorToResponder: nativeAead(first), responderToInitiator: nativeAead(second) };
  }

  destroy(): void {
    this.#native.destroy();
  }
}

function nativeAead(key: Addon.AeadKey): AeadKey {
  return {
    seal(counter, ad, plaintext) {
      return filled(plaintext.length + TAG_LENGTH, (output) => key.seal(output, counter, ad, plaintext));
    },
    open(counter, ad, ciphertext) {
      return opened(ciphertext.length - TAG_LENGTH, (output) => key.open(output, counter, ad, ciphertext));
    },
    sealInPlace: (counter, bytes) => key.sealInPlace(bytes, counter),
    openInPlace(counter, ciphertext) {
      if (ciphertext.length < TAG_LENGTH) return undefined;
      return key.openInPlace(ciphertext, counter) ? ciphertext.subarray(0, ciphertext.length - TAG_LENGTH) : undefined;
    },
  };
}

function filled(length: number, write: (output: Uint8Array) => void): Uint8Array {
  const output = allocate(length);
  write(output);
  return output;
}

/** A negative length is a ciphertext shorter than its tag. */
function opened(length: number, write: (output: Uint8Array) => boolean): Uint8Array | undefined {
  if (length < 0) return undefined;
  const output = allocate(length);
  return write(output) ? output : undefined;
}

/** Uninitialised bytes, out of Node's pool when few: cheaper than any other way. The addon fills all of them or throws. */
function allocate(length: number): Uint8Array {
  return plain(Buffer.allocUnsafe(length));
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
