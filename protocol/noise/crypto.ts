/**
 * The primitives of shellstream/1 behind one interface. Three providers implement it and pass one vector suite:
 * native (aws-lc-rs), node:crypto, and noble for browsers. All calls are synchronous; randomness enters here
 * and nowhere else.
 */
export interface CryptoProvider {
  readonly name: 'native' | 'node' | 'noble';

  /** Bytes of a cryptographic random source. */
  randomBytes(length: number): Uint8Array;

  /** A new X25519 key pair. */
  x25519Generate(): X25519KeyPair;

  /** The key pair of a 32-byte private scalar (fixed keys of vectors; keys kept on disk). */
  x25519FromPrivate(privateKey: Uint8Array): X25519KeyPair;

  /** SHA-256 over the concatenation of the parts: 32 bytes. */
  sha256(...parts: readonly Uint8Array[]): Uint8Array;

  /** HMAC-SHA-256 over the concatenation of the parts: 32 bytes. */
  hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;

  /** HKDF-SHA-256 (RFC 5869), extract and expand; length at most 255 * 32. */
  hkdfSha256(salt: Uint8Array, ikm: Uint8Array, info: Uint8Array, length: number): Uint8Array;

  /** A ChaCha20-Poly1305 key, 32 bytes. Nonces are Noise's: 4 zero bytes and a 64-bit little-endian counter. */
  aead(key: Uint8Array): AeadKey;

  /**
   * The symmetric state of a Noise handshake in one object, where a provider has its own that keeps chaining key,
   * cipher keys and DH results out of the JavaScript heap. Without it `protocol/noise/symmetric.ts` builds one
   * of the calls above; both give the same bytes.
   */
  symmetricState?(protocolName: Uint8Array): SymmetricState;
}

export interface X25519KeyPair {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The 32-byte shared secret, or undefined when it is all zero (a point of low order): the caller aborts. */
  dh(peerPublicKey: Uint8Array): Uint8Array | undefined;
  /** The private scalar; only for keys that a driver must be handed (WireGuard). */
  exportPrivate(): Uint8Array;
}

export interface AeadKey {
  /** Ciphertext with its 16-byte tag. */
  seal(counter: bigint, associatedData: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /** The plaintext, or undefined when authentication fails. Never throws on attacker input. */
  open(counter: bigint, associatedData: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined;
  /** Without associated data: the plaintext in `bytes` before their last 16 becomes ciphertext, the tag goes behind it. */
  sealInPlace(counter: bigint, bytes: Uint8Array): void;
  /**
   * As `open`, without associated data. The plaintext may stand where the ciphertext stood, whose bytes are gone in any
   * case.
   */
  openInPlace(counter: bigint, ciphertext: Uint8Array): Uint8Array | undefined;
}

/** SymmetricState of the Noise specification, section 5.2, with its cipher state inside. One owner; not reusable after `split`. */
export interface SymmetricState {
  mixHash(data: Uint8Array): void;
  /** MixKey of the DH of an own key pair with a peer's public key; false, and nothing mixed, when it is all zero. */
  mixDh(own: X25519KeyPair, peerPublicKey: Uint8Array): boolean;
  /** The plaintext itself while no key has been mixed in. */
  encryptAndHash(plaintext: Uint8Array): Uint8Array;
  /** Undefined when authentication fails; the state is of no use then. */
  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined;
  /** 16 once a key has been mixed in, 0 before: what `encryptAndHash` adds. */
  readonly tagLength: 0 | 16;
  /** A copy of h: 32 bytes. */
  handshakeHash(): Uint8Array;
  /** The keys initiator → responder and responder → initiator; ends the state. */
  split(): { readonly initiatorToResponder: AeadKey; readonly responderToInitiator: AeadKey };
  /** Wipes the secrets. Idempotent. */
  destroy(): void;
}
