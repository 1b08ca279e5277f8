/** Numbers and labels of shellstream/1 that both ends must agree on. Specification: protocol/README.md. */

export const VERSION = 1;

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/** First byte of every record. */
export const RECORD = {
  INIT: 1,
  VERIFY: 2,
  CONFIRM: 3,
  REFUSED: 4,
  TRANSPORT: 16,
} as const;

export const PROLOGUE = ascii('shellstream/1');
/** Followed by the 32-byte `reattest` secret of the session that is attested again. */
export const REATTEST_PROLOGUE = ascii('shellstream/1 reattest');

/** Domain separation of evidence signatures: 64 spaces, the label, a zero byte (as TLS 1.3 does it). */
export const EVIDENCE_CONTEXT = ascii(`${' '.repeat(64)}shellstream/1 attest\0`);
export const SAT_LABEL = ascii('shellstream/1 sat');
export const WIREGUARD_LABEL = ascii('shellstream/1 wg');

export const SECRET_LABELS = {
  presharedKey: ascii('wireguard psk'),
  sessionId: ascii('session id'),
  reattest: ascii('reattest'),
} as const;

export const LIMITS = {
  /** Noise's own limit on a message, plus our record byte. */
  recordBytes: 65_536,
  /** Message 1 carries an unauthenticated stranger's bytes: small. */
  initPayloadBytes: 256,
  evidenceBytes: 65_000,
  bodyBytes: 32_768,
  chainLength: 8,
  certificateBytes: 16_384,
  signatureBytes: 1_024,
  satBytes: 8_192,
  spiffeIdBytes: 2_048,
  versions: 8,
  tunnelAddresses: 8,
} as const;

/** From the first record of a re-attestation to its answer, at each end: one fall of the level asks thousands at once. */
export const REATTEST_MS = 25_000;

export const NONCE_BYTES = 32;
export const SECRET_BYTES = 32;
export const KEY_BYTES = 32;
