import { ShellstreamError } from '../errors.ts';
import { CipherState, TAG_LENGTH } from './cipher.ts';
import type { AeadKey } from './crypto.ts';

/** Longest Noise message, tag included (Noise, section 3). */
export const MAX_MESSAGE_LENGTH = 65535;
/** Longest plaintext of one transport message. */
export const MAX_PLAINTEXT_LENGTH = MAX_MESSAGE_LENGTH - TAG_LENGTH;

/** One direction of a session: messages in order, each under the next counter. */
export interface TransportCipher {
  /** Ciphertext with its tag. Throws when the plaintext is too long or the counter is used up. */
  seal(plaintext: Uint8Array, associatedData?: Uint8Array): Uint8Array;
  /**
   * The plaintext, or undefined: forged, changed, replayed, out of order or too long. The cipher is dead after
   * that and opens nothing more, so that an attacker has one try at a message and none at finding a counter.
   */
  open(ciphertext: Uint8Array, associatedData?: Uint8Array): Uint8Array | undefined;
  /** As `seal`, over the bytes themselves, the last 16 of which are room for the tag. */
  sealInPlace(bytes: Uint8Array): void;
  /** As `open`; the bytes of the ciphertext are gone, the plaintext may stand among them. */
  openInPlace(ciphertext: Uint8Array): Uint8Array | undefined;
}

/** `counter`: of the next message; other than 0 only in tests of the limit. */
export function transportCipher(key: AeadKey, counter = 0n): TransportCipher {
  let cipher: CipherState | undefined = new CipherState(key, counter);
  const alive = (): CipherState => {
    if (cipher === undefined) throw new ShellstreamError('INTERNAL', 'a transport cipher was used after a failure');
    return cipher;
  };
  return {
    seal(plaintext, associatedData = NOTHING) {
      if (plaintext.length > MAX_PLAINTEXT_LENGTH)
        throw new ShellstreamError('INTERNAL', 'a transport message is too long');
      return alive().encryptWithAd(associatedData, plaintext);
    },
    open(ciphertext, associatedData = NOTHING) {
      const plaintext =
        ciphertext.length > MAX_MESSAGE_LENGTH ? undefined : cipher?.decryptWithAd(associatedData, ciphertext);
      if (plaintext === undefined) cipher = undefined;
      return plaintext;
    },
    sealInPlace(bytes) {
      if (bytes.length > MAX_MESSAGE_LENGTH) throw new ShellstreamError('INTERNAL', 'a transport message is too long');
      alive().encryptInPlace(bytes);
    },
    openInPlace(ciphertext) {
      const plaintext = ciphertext.length > MAX_MESSAGE_LENGTH ? undefined : cipher?.decryptInPlace(ciphertext);
      if (plaintext === undefined) cipher = undefined;
      return plaintext;
    },
  };
}

const NOTHING = new Uint8Array(0);
