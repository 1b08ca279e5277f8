/**
 * The responder's side of the handshake. Each state holds what is known by then and offers the one legal step; a
 * step consumes its state. Nothing here waits, verifies an identity or decides: whoever drives it does that between
 * the steps, with the values that the states hand out.
 *
 *     respond → readInit → writeVerify → readConfirm → establish
 */
import { ShellstreamError } from '../errors.ts';
import { type Finished, noiseXX, type Reading } from '../noise/index.ts';
import { encodeEvidence, type Offer, parseEvidence, parseOffer } from './bodies.ts';
import { PROLOGUE, RECORD } from './constants.ts';
import { type Established, type HandshakeOptions, known } from './established.ts';
import type { Evidence } from './evidence.ts';
import { decodeRecord, encodeRecord } from './records.ts';

export interface AwaitingInit {
  /** @throws ShellstreamError MALFORMED, UNEXPECTED_RECORD */
  readInit(record: Uint8Array): InitReceived;
}

/** Message 1 is here. Nothing of it is authenticated. */
export interface InitReceived {
  readonly offer: Offer;
  /** What our evidence must be signed over: the handshake hash so far, and our static public key. */
  readonly transcript: Uint8Array;
  readonly staticKey: Uint8Array;
  /** Message 2. */
  writeVerify(evidence: Evidence): { readonly record: Uint8Array; readonly next: AwaitingConfirm };
}

export interface AwaitingConfirm {
  /** @throws ShellstreamError DECRYPT_FAILED, MALFORMED, UNEXPECTED_RECORD */
  readConfirm(record: Uint8Array): ConfirmReceived;
}

/** Message 3 is here and came from the holder of `staticKey`; who that is, only its evidence says. */
export interface ConfirmReceived {
  /** As message 1 had it; the evidence's body must repeat it. */
  readonly offer: Offer;
  readonly evidence: Evidence;
  /** Handshake hash after message 2: what the initiator signed over, with its static public key. */
  readonly transcript: Uint8Array;
  readonly staticKey: Uint8Array;
  readonly ephemeralKey: Uint8Array;
  /** Final handshake hash. */
  readonly handshakeHash: Uint8Array;
  /** X25519(our ephemeral, a WireGuard public key); undefined when all zero. */
  wireguardShared(publicKey: Uint8Array): Uint8Array | undefined;
  establish(): Established;
}

export function respond(options: HandshakeOptions): AwaitingInit {
  const { prologue = PROLOGUE, ...keys } = options;
  const noise = noiseXX.responder({ ...keys, prologue });
  return {
    readInit(record) {
      const read = noise.readMessage(decodeRecord(record, RECORD.INIT));
      if (read === undefined) throw new ShellstreamError('MALFORMED', 'ATTEST-INIT is no first message of Noise XX');
      const offer = parseOffer(read.payload);
      return {
        offer,
        transcript: read.next.handshakeHash,
        staticKey: options.staticKey.publicKey,
        writeVerify(evidence) {
          const { message, next } = read.next.writeMessage(encodeEvidence(evidence));
          return { record: encodeRecord(RECORD.VERIFY, message), next: awaitingConfirm(next, offer) };
        },
      };
    },
  };
}

function awaitingConfirm(noise: Reading<Finished>, offer: Offer): AwaitingConfirm {
  return {
    readConfirm(record) {
      const read = noise.readMessage(decodeRecord(record, RECORD.CONFIRM));
      if (read === undefined) throw new ShellstreamError('DECRYPT_FAILED', 'ATTEST-CONFIRM');
      return {
        offer,
        evidence: parseEvidence(read.payload),
        transcript: noise.handshakeHash,
        staticKey: known(read.next.remoteStatic),
        ephemeralKey: known(read.next.remoteEphemeral),
        handshakeHash: read.next.handshakeHash,
        wireguardShared: (publicKey) => read.next.ephemeralDh(publicKey),
        establish: () => read.next.split(),
      };
    },
  };
}
