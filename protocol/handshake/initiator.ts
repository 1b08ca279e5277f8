/**
 * The initiator's side of the handshake, built like `responder.ts`:
 *
 *     initiate → readVerify → writeConfirm
 *
 * After `readVerify` the driver must believe the responder (chain, signature, pinned SPIFFE ID) before it asks for a
 * token: `writeConfirm` is what first tells the responder who we are.
 */
import { ShellstreamError } from '../errors.ts';
import { type Finished, noiseXX, type Writing } from '../noise/index.ts';
import { encodeEvidence, encodeOffer, type Offer, parseEvidence } from './bodies.ts';
import { PROLOGUE, RECORD } from './constants.ts';
import { type Established, type HandshakeOptions, known } from './established.ts';
import type { Evidence } from './evidence.ts';
import { decodeAnswer, encodeRecord } from './records.ts';

export interface AwaitingVerify {
  /** @throws ShellstreamError DECRYPT_FAILED, MALFORMED, UNEXPECTED_RECORD, or the reason of a REFUSED */
  readVerify(record: Uint8Array): VerifyReceived;
}

export interface VerifyReceived {
  readonly evidence: Evidence;
  /** Handshake hash after message 1: what the responder signed over, with its static public key. */
  readonly responderTranscript: Uint8Array;
  readonly responderStaticKey: Uint8Array;
  readonly ephemeralKey: Uint8Array;
  /** What our evidence must be signed over: the handshake hash so far, and our static public key. */
  readonly transcript: Uint8Array;
  readonly staticKey: Uint8Array;
  /** Message 3. The keys are ready, but nothing may be sent before GRANT is read. */
  writeConfirm(evidence: Evidence): { readonly record: Uint8Array; readonly next: ConfirmSent };
}

export interface ConfirmSent extends Established {
  /** X25519(our ephemeral, a WireGuard public key); undefined when all zero. */
  wireguardShared(publicKey: Uint8Array): Uint8Array | undefined;
}

export function initiate(
  options: HandshakeOptions,
  offer: Offer,
): { readonly record: Uint8Array; readonly next: AwaitingVerify } {
  const { prologue = PROLOGUE, ...keys } = options;
  const noise = noiseXX.initiator({ ...keys, prologue });
  const first = noise.writeMessage(encodeOffer(offer));
  const next: AwaitingVerify = {
    readVerify(record) {
      const read = first.next.readMessage(decodeAnswer(record, RECORD.VERIFY));
      if (read === undefined) throw new ShellstreamError('DECRYPT_FAILED', 'ATTEST-VERIFY');
      return {
        evidence: parseEvidence(read.payload),
        responderTranscript: first.next.handshakeHash,
        responderStaticKey: known(read.next.remoteStatic),
        ephemeralKey: known(read.next.remoteEphemeral),
        transcript: read.next.handshakeHash,
        staticKey: options.staticKey.publicKey,
        writeConfirm: (evidence) => writeConfirm(read.next, evidence),
      };
    },
  };
  return { record: encodeRecord(RECORD.INIT, first.message), next };
}

function writeConfirm(
  noise: Writing<Finished>,
  evidence: Evidence,
): { readonly record: Uint8Array; readonly next: ConfirmSent } {
  const { message, next } = noise.writeMessage(encodeEvidence(evidence));
  return {
    record: encodeRecord(RECORD.CONFIRM, message),
    next: { ...next.split(), wireguardShared: (publicKey) => next.ephemeralDh(publicKey) },
  };
}
