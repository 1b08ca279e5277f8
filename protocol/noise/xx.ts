import { HandshakeCore } from './core.ts';
import type { CryptoProvider, X25519KeyPair } from './crypto.ts';
import { type Finished, finished, type Reading, reading, type Writing, writing } from './handshake.ts';
import { XX } from './patterns.ts';

export interface NoiseXXParameters {
  readonly crypto: CryptoProvider;
  readonly prologue: Uint8Array;
  readonly staticKey: X25519KeyPair;
  /** A fixed ephemeral key: for test vectors only, a reused one gives the session away. */
  readonly ephemeralKey?: X25519KeyPair;
}

/** Message 1 to write, 2 to read, 3 to write. */
export type NoiseXXInitiator = Writing<Reading<Writing<Finished>>>;
/** Message 1 to read, 2 to write, 3 to read. */
export type NoiseXXResponder = Reading<Writing<Reading<Finished>>>;

/** Noise_XX_25519_ChaChaPoly_SHA256, the only pattern that shellstream/1 speaks. */
export const noiseXX = {
  initiator(parameters: NoiseXXParameters): NoiseXXInitiator {
    return writing(new HandshakeCore(XX, 'initiator', parameters), (core) =>
      reading(core, (afterRead) => writing(afterRead, finished)),
    );
  },
  responder(parameters: NoiseXXParameters): NoiseXXResponder {
    return reading(new HandshakeCore(XX, 'responder', parameters), (core) =>
      writing(core, (afterWrite) => reading(afterWrite, finished)),
    );
  },
} as const;
