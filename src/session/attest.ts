/**
 * Both sides of the handshake, driven over whatever carries records: a link for the first attestation, REATTEST frames
 * for the later ones. The state machines are pure and in `protocol/handshake`; the judgement is the enforcer's; here
 * the two are brought together, one step after the other.
 */

import type { GrantBody } from '../../protocol/channel/grant.ts';
import { decodeFrame, encodeFrame } from '../../protocol/channel/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  decodeAnswer,
  type Established,
  encodeRecord,
  type HandshakeOptions,
  initiate,
  parseConfirmBody,
  parseVerifyBody,
  RECORD,
  respond,
} from '../../protocol/handshake/index.ts';
import type { Admission, Connection, Enforcer, SessionId } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';

/** Whole records, in order. `next` rejects when the carrier breaks or the handshake takes too long. */
export interface RecordExchange {
  send(record: Uint8Array): void;
  next(): Promise<Uint8Array>;
}

export interface AttestParts {
  readonly enforcer: Enforcer;
  readonly handshake: HandshakeOptions;
  readonly connection: Connection;
  /** The session that is attested again. */
  readonly renews?: SessionId;
  /** Responder: the keys are there, what comes next on the wire is under them. */
  onEstablished?(established: Established): void;
  /** Initiator: sends message 3 where it must not go by `exchange.send`. */
  sendLast?(record: Uint8Array, established: Established): void;
}

export interface Attested {
  readonly admission: Admission;
  readonly established: Established;
}

/** A refusal after message 3: the keys are there, so the peer can be told under them. */
export class AttestationRefused extends ShellstreamError {
  readonly established: Established;

  constructor(cause: ShellstreamError, established: Established) {
    super(cause.reason, cause.message, { cause, fields: { ...cause.fields } });
    this.established = established;
  }
}

/** Messages 1 to 3; the caller sends GRANT, whose content is `admission.answer`. */
export async function attestAsResponder(exchange: RecordExchange, parts: AttestParts): Promise<Attested> {
  const { enforcer, connection, renews } = parts;
  const init = respond(parts.handshake).readInit(await exchange.next());
  const verify = init.writeVerify(await enforcer.challenge(init));
  exchange.send(verify.record);
  const confirm = verify.next.readConfirm(await exchange.next());
  const established = confirm.establish();
  parts.onEstablished?.(established);
  try {
    // Parsed here for the one key that only this side's Noise ephemeral can check; judged by the enforcer alone.
    const { wireguard } = parseConfirmBody(confirm.evidence.body);
    const wireguardShared = wireguard === undefined ? undefined : confirm.wireguardShared(wireguard.publicKey);
    const admission = await enforcer.admit({
      offer: confirm.offer,
      evidence: confirm.evidence,
      transcript: confirm.transcript,
      staticKey: confirm.staticKey,
      ephemeralKey: confirm.ephemeralKey,
      handshakeHash: confirm.handshakeHash,
      connection,
      ...(wireguardShared === undefined ? {} : { wireguardShared }),
      ...(renews === undefined ? {} : { renews }),
    });
    return { admission, established };
  } catch (error) {
    throw error instanceof ShellstreamError ? new AttestationRefused(error, established) : error;
  }
}

/** Messages 1 to 3 from the other side. What comes back turns the responder's GRANT into an admission. */
export async function attestAsInitiator(
  exchange: RecordExchange,
  parts: AttestParts,
  approach: Approach,
): Promise<{ readonly established: Established; accept(grant: GrantBody): Promise<Admission> }> {
  const { enforcer, connection, renews } = parts;
  const init = initiate(parts.handshake, approach.offer);
  exchange.send(init.record);
  const verify = init.next.readVerify(await exchange.next());
  const evidence = await enforcer.approach({ ...verify, ...approach, ...(renews === undefined ? {} : { renews }) });
  const { record, next: confirm } = verify.writeConfirm(evidence);
  if (parts.sendLast === undefined) exchange.send(record);
  else parts.sendLast(record, confirm);
  const { nonce } = parseVerifyBody(verify.evidence.body);
  return {
    established: confirm,
    accept: (grant) => {
      const wireguardShared =
        grant.wireguard === undefined ? undefined : confirm.wireguardShared(grant.wireguard.publicKey);
      return enforcer.accept({
        nonce,
        grant,
        handshakeHash: confirm.handshakeHash,
        connection,
        ...(wireguardShared === undefined ? {} : { wireguardShared }),
        ...(renews === undefined ? {} : { renews }),
      });
    },
  };
}

/** The first record after a first attestation: GRANT, or DENY as an error with its reason. */
export function readAnswer(established: Established, record: Uint8Array): GrantBody {
  const plaintext = established.receive.open(decodeAnswer(record, RECORD.TRANSPORT));
  if (plaintext === undefined) throw new ShellstreamError('DECRYPT_FAILED', 'the answer to ATTEST-CONFIRM');
  const frame = decodeFrame(plaintext);
  switch (frame.type) {
    case 'GRANT':
      return frame.grant;
    case 'DENY':
      throw new ShellstreamError(frame.reason, `denied by the peer: ${frame.reason}`, { fields: { byPeer: true } });
    default:
      throw new ShellstreamError('UNEXPECTED_RECORD', `${frame.type} where GRANT or DENY was due`);
  }
}

/** GRANT or DENY as the first record under the new keys. */
export function writeAnswer(
  established: Established,
  frame: Parameters<typeof encodeFrame>[0] & { readonly type: 'GRANT' | 'DENY' },
): Uint8Array {
  return encodeRecord(RECORD.TRANSPORT, established.send.seal(encodeFrame(frame)));
}
