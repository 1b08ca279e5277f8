/**
 * Evidence: a certificate chain and a signature by its leaf over this very handshake.
 *
 * The signature covers the role, the transcript so far, the sender's Noise static key and the body, so that it
 * cannot be replayed, reflected to its sender, moved to another connection, or kept with another body.
 */
import type { CryptoProvider } from '../noise/crypto.ts';
import { EVIDENCE_CONTEXT, SAT_LABEL } from './constants.ts';

export type Role = 'initiator' | 'responder';

/** What messages 2 and 3 carry. `body` is kept as the bytes that were signed; it is never encoded again. */
export interface Evidence {
  /** X.509-SVID, leaf first, DER. */
  readonly chain: readonly Uint8Array[];
  readonly signature: Uint8Array;
  readonly body: Uint8Array;
}

/** What a signature was made over, besides the body. */
export interface EvidenceContext {
  readonly role: Role;
  /** Noise handshake hash after the previous message, 32 bytes. */
  readonly transcript: Uint8Array;
  /** The sender's Noise static public key, 32 bytes. */
  readonly staticKey: Uint8Array;
}

const ROLE_BYTE: Readonly<Record<Role, number>> = { initiator: 1, responder: 2 };

/** The exact bytes that the SVID's key signs. */
export function signedMessage(crypto: CryptoProvider, context: EvidenceContext, body: Uint8Array): Uint8Array {
  return concat(
    EVIDENCE_CONTEXT,
    Uint8Array.of(ROLE_BYTE[context.role]),
    context.transcript,
    context.staticKey,
    crypto.sha256(body),
  );
}

/**
 * The only SAT audience that counts where a fresh token is asked for. SPIRE cannot have minted it before message 2
 * existed, and it is of no use in any other handshake.
 */
export function boundAudience(crypto: CryptoProvider, responderId: string, transcript: Uint8Array): string {
  return `${responderId}#${base64url(crypto.sha256(SAT_LABEL, transcript))}`;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Equal bytes, in time that does not depend on where they differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** RFC 4648 section 5, without padding. */
function base64url(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const group = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += BASE64URL.charAt(group >> 18) + BASE64URL.charAt((group >> 12) & 63);
    if (left > 1) text += BASE64URL.charAt((group >> 6) & 63);
    if (left > 2) text += BASE64URL.charAt(group & 63);
  }
  return text;
}
