import { constants, type KeyObject, sign, verify } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { loadP256 } from '../base/p256.ts';
import { type KeyType, keyTypeOf, type PublicKey } from './certificate.ts';
import type { VerifiedSvid } from './x509-svid.ts';

/**
 * Signatures of handshake evidence. The algorithm follows from the type of the SVID's key and is never negotiated:
 * P-256 ECDSA with SHA-256 and P-384 with SHA-384, both in DER form; RSA-PSS with SHA-256, MGF1 of it and a salt of 32
 * bytes; Ed25519.
 */
export type EvidenceSigner = (message: Uint8Array) => Uint8Array;

/** Throws SVID_MALFORMED when the private key is of a type that no SVID may have. */
export function evidenceSigner(privateKey: KeyObject): EvidenceSigner {
  const type = keyTypeOf(privateKey);
  if (type === undefined) throw new ShellstreamError('SVID_MALFORMED', 'a private key of a type that is not allowed');
  if (type === 'P-256') return P256.signer(privateKey);
  const { hash, ...options } = ALGORITHM[type];
  return (message) => sign(hash, message, { key: privateKey, ...options });
}

/** Throws SVID_SIGNATURE unless the SVID's key signed `message`. */
export function verifyEvidenceSignature(
  svid: Pick<VerifiedSvid, 'publicKey'>,
  message: Uint8Array,
  signature: Uint8Array,
): void {
  if (signature.length > MAX_SIGNATURE_BYTES || !isSignedBy(svid.publicKey, message, signature))
    throw new ShellstreamError('SVID_SIGNATURE');
}

function isSignedBy({ type, object }: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  if (type === 'P-256') return p256Verifier(object)(message, signature);
  const { hash, ...options } = ALGORITHM[type];
  return verify(hash, message, { key: object, ...options }, signature);
}

const P256 = loadP256();

/** Of the SVIDs that are remembered, each with its parsed key. */
const p256Verifiers = new WeakMap<KeyObject, ReturnType<typeof P256.verifier>>();

function p256Verifier(key: KeyObject): ReturnType<typeof P256.verifier> {
  const known = p256Verifiers.get(key) ?? P256.verifier(key);
  p256Verifiers.set(key, known);
  return known;
}

/** RSA of 8192 bits. */
const MAX_SIGNATURE_BYTES = 1024;

interface Algorithm {
  readonly hash: string | null;
  readonly dsaEncoding?: 'der';
  readonly padding?: number;
  readonly saltLength?: number;
}

const ALGORITHM: Readonly<Record<Exclude<KeyType, 'P-256'>, Algorithm>> = {
  'P-384': { hash: 'sha384', dsaEncoding: 'der' },
  RSA: { hash: 'sha256', padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
  Ed25519: { hash: null },
};
