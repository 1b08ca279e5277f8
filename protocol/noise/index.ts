/** Noise for shellstream/1: the XX handshake, the ciphers it ends in, and the primitives it needs. No I/O, no randomness of its own. */
export { TAG_LENGTH } from './cipher.ts';
export type { AeadKey, CryptoProvider, SymmetricState, X25519KeyPair } from './crypto.ts';
export type { Finished, HandshakeView, Reading, Writing } from './handshake.ts';
export { MAX_MESSAGE_LENGTH, MAX_PLAINTEXT_LENGTH, type TransportCipher } from './transport.ts';
export { type NoiseXXInitiator, type NoiseXXParameters, type NoiseXXResponder, noiseXX } from './xx.ts';
