/** What a finished handshake yields beside its transport keys. Any Noise library can compute it. */
import type { CryptoProvider } from '../noise/crypto.ts';
import { KEY_BYTES, SECRET_LABELS, WIREGUARD_LABEL } from './constants.ts';
import { concat, equalBytes } from './evidence.ts';

export interface SessionSecrets {
  /** WireGuard pre-shared key, 32 bytes. */
  readonly presharedKey: Uint8Array;
  /** 16 bytes; names the session in logs, tables and evidence at both ends. */
  readonly sessionId: Uint8Array;
  /** 32 bytes; goes into the prologue of the next attestation of this session. */
  readonly reattest: Uint8Array;
}

/**
 * HKDF-SHA-256 with the final handshake hash as salt and both ends' secrets as input. The secrets travel encrypted,
 * so the result is known to neither a holder of the hash alone nor to one end alone beforehand.
 */
export function deriveSecrets(
  crypto: CryptoProvider,
  handshakeHash: Uint8Array,
  initiatorSecret: Uint8Array,
  responderSecret: Uint8Array,
): SessionSecrets {
  const material = concat(initiatorSecret, responderSecret);
  const derive = (info: Uint8Array, length: number): Uint8Array =>
    crypto.hkdfSha256(handshakeHash, material, info, length);
  return {
    presharedKey: derive(SECRET_LABELS.presharedKey, KEY_BYTES),
    sessionId: derive(SECRET_LABELS.sessionId, 16),
    reattest: derive(SECRET_LABELS.reattest, KEY_BYTES),
  };
}

/**
 * Proof that the owner of a WireGuard key speaks in this handshake: without it a peer could claim the public key
 * of somebody else and have that one's tunnel moved.
 *
 * @param shared X25519(WireGuard private key, the other end's Noise ephemeral): each end can compute it.
 * @param transcript the handshake hash after message 2 in ATTEST-CONFIRM, the final one in GRANT.
 */
export function wireguardProof(crypto: CryptoProvider, shared: Uint8Array, transcript: Uint8Array): Uint8Array {
  return crypto.hmacSha256(shared, WIREGUARD_LABEL, transcript);
}

/**
 * Names a WireGuard key without telling it: in message 2 whoever asks may read it, and a WireGuard that is not known
 * answers nobody.
 */
export function wireguardKeyHash(crypto: CryptoProvider, publicKey: Uint8Array): Uint8Array {
  return crypto.sha256(WIREGUARD_LABEL, publicKey);
}

export function wireguardProofHolds(
  crypto: CryptoProvider,
  shared: Uint8Array | undefined,
  transcript: Uint8Array,
  proof: Uint8Array,
): boolean {
  return shared !== undefined && equalBytes(wireguardProof(crypto, shared, transcript), proof);
}
