/**
 * Records at each state of the handshake. The first byte chooses the state, and whether the rest is the record itself or
 * the plaintext of one that is sealed with the right keys, so that changed bytes reach the parser behind the cipher.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { PROLOGUE, RECORD } from '../../protocol/handshake/constants.ts';
import { type Evidence, encodeRecord, initiate, respond } from '../../protocol/handshake/index.ts';
import { noiseXX } from '../../protocol/noise/index.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { protobuf } from '../formats/protobuf.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, judged, type OpenTarget } from '../target.ts';
import { EVIDENCE, fill, HANDSHAKE_PAYLOADS, OFFER } from './examples.ts';

const REFUSALS: readonly Reason[] = ['MALFORMED', 'UNEXPECTED_RECORD', 'DECRYPT_FAILED'];

export const open: OpenTarget = async () => {
  const crypto = loadCryptoProvider();
  const [ours, theirs] = [crypto.x25519FromPrivate(fill(11)), crypto.x25519FromPrivate(fill(12))];
  const [ourEphemeral, theirEphemeral] = [crypto.x25519FromPrivate(fill(13)), crypto.x25519FromPrivate(fill(14))];
  const responder = () => respond({ crypto, staticKey: ours, ephemeralKey: ourEphemeral });
  const initiator = () => initiate({ crypto, staticKey: ours, ephemeralKey: ourEphemeral }, OFFER);
  const peer = { crypto, prologue: PROLOGUE, staticKey: theirs, ephemeralKey: theirEphemeral };
  const [offer = fill(0), evidence = fill(0)] = HANDSHAKE_PAYLOADS;

  const init = (record: Uint8Array): string => {
    const state = responder();
    return received(
      () => state.readInit(record),
      () => 'init',
    );
  };
  const verify = (record: (first: Uint8Array) => Uint8Array): string => {
    const { record: first, next } = initiator();
    return received(
      () => next.readVerify(record(first)),
      (got) => checkEvidence(got.evidence),
    );
  };
  const confirm = (record: (second: Uint8Array, write: (payload: Uint8Array) => Uint8Array) => Uint8Array): string => {
    const opening = noiseXX.initiator(peer).writeMessage(offer);
    const { record: second, next } = responder()
      .readInit(encodeRecord(RECORD.INIT, opening.message))
      .writeVerify(EVIDENCE);
    const read = opening.next.readMessage(second.subarray(1));
    holds(read !== undefined, 'an honest message 2 does not open');
    const third = record(second, (payload) => read.next.writeMessage(payload).message);
    return received(
      () => next.readConfirm(third),
      (got) => checkEvidence(got.evidence),
    );
  };
  const sealedVerify =
    (payload: Uint8Array) =>
    (first: Uint8Array): Uint8Array => {
      const read = noiseXX.responder(peer).readMessage(first.subarray(1));
      holds(read !== undefined, 'an honest message 1 does not open');
      return encodeRecord(RECORD.VERIFY, read.next.writeMessage(payload).message);
    };
  const transport = (record: Uint8Array): string => {
    const { send, receive } = established();
    const genuine = send.seal(fill(1, 20));
    const opened = receive.open(record);
    holds(opened === undefined || Buffer.compare(record, genuine) === 0, 'a forged record opens');
    if (opened === undefined) holds(receive.open(genuine) === undefined, 'a second try after a forgery');
    return opened === undefined ? 'forged' : 'genuine';
  };
  const established = () => {
    const first = initiator();
    const second = respond({ crypto, staticKey: theirs, ephemeralKey: theirEphemeral })
      .readInit(first.record)
      .writeVerify(EVIDENCE);
    const third = first.next.readVerify(second.record).writeConfirm(EVIDENCE);
    const end = second.next.readConfirm(third.record).establish();
    return { send: third.next.send, receive: end.receive };
  };

  const states: readonly ((rest: Uint8Array) => string)[] = [
    init,
    (rest) => init(encodeRecord(RECORD.INIT, Buffer.concat([theirEphemeral.publicKey, rest]))),
    (rest) => verify(() => rest),
    (rest) => verify(sealedVerify(rest)),
    (rest) => confirm(() => rest),
    (rest) => confirm((_, write) => encodeRecord(RECORD.CONFIRM, write(rest))),
    transport,
    // The responder's own message comes back to it.
    () => confirm((second) => second),
  ];
  const first = noiseXX.initiator(peer).writeMessage(offer).message;
  return {
    about: 'records at each state of the handshake: refused as ours, and no second try',
    covers: ['protocol/handshake/', 'protocol/noise/core.ts'],
    maxBytes: 65_400,
    format: behind(1, treeFormat(protobuf)),
    dictionary: [
      Uint8Array.of(1),
      Uint8Array.of(2),
      Uint8Array.of(3),
      Uint8Array.of(4),
      Uint8Array.of(16),
      fill(0),
      theirEphemeral.publicKey,
    ],
    seeds: [
      Uint8Array.of(0, ...encodeRecord(RECORD.INIT, first)),
      Uint8Array.of(1, ...offer),
      Uint8Array.of(2, ...sealedVerify(evidence)(initiator().record)),
      Uint8Array.of(2, RECORD.REFUSED, 0, 200),
      Uint8Array.of(3, ...evidence),
      Uint8Array.of(4, RECORD.CONFIRM, ...fill(1, 80)),
      Uint8Array.of(5, ...evidence),
      Uint8Array.of(6, ...established().send.seal(fill(1, 20))),
      Uint8Array.of(7),
    ],
    run(input) {
      const at = (input[0] ?? 0) % states.length;
      const state = states[at] ?? init;
      return `${at} ${state(input.subarray(1))}`;
    },
  };
};

/** A state is used up by its record, whatever that was. */
function received<T>(read: () => T, check: (value: T) => string): string {
  let value: T;
  try {
    value = read();
  } catch (error) {
    const byPeer = error instanceof ShellstreamError && error.fields.byPeer === true;
    const reasons = byPeer ? (Object.keys(REASONS) as Reason[]) : REFUSALS;
    return judged({ reasons, longest: 400 }, error);
  }
  const again = attempt({ reasons: ['INTERNAL'] }, read);
  holds('refusal' in again, 'a state was used twice');
  return check(value);
}

function checkEvidence({ chain, signature, body }: Evidence): string {
  holds(chain.length >= 1 && chain.length <= 8, 'a chain over the limit');
  holds(
    chain.every(({ length }) => length > 0 && length <= 16_384),
    'a certificate over the limit',
  );
  holds(signature.length <= 1_024 && body.length <= 32_768, 'a body over the limit');
  return `evidence ${chain.length}`;
}
