/** What both sides of the handshake start from and end in. */
import { ShellstreamError } from '../errors.ts';
import type { CryptoProvider, TransportCipher, X25519KeyPair } from '../noise/index.ts';
import { REATTEST_PROLOGUE } from './constants.ts';
import { concat } from './evidence.ts';

export interface HandshakeOptions {
  readonly crypto: CryptoProvider;
  /** Lives as long as the process, no longer. */
  readonly staticKey: X25519KeyPair;
  /** `PROLOGUE` unless a session is attested again. */
  readonly prologue?: Uint8Array;
  /** A fixed ephemeral key: for vectors only. */
  readonly ephemeralKey?: X25519KeyPair;
}

/** The handshake is over. */
export interface Established {
  readonly send: TransportCipher;
  readonly receive: TransportCipher;
  readonly handshakeHash: Uint8Array;
}

/** Ties a new handshake to the session it renews: only the two ends of that session know the secret. */
export function reattestPrologue(reattestSecret: Uint8Array): Uint8Array {
  return concat(REATTEST_PROLOGUE, reattestSecret);
}

/** A key that Noise has by this point of the pattern. */
export function known(key: Uint8Array | undefined): Uint8Array {
  if (key === undefined) throw new ShellstreamError('INTERNAL', 'the pattern has no such key here');
  return key;
}
