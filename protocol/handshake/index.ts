/** The ATTEST-INIT, ATTEST-VERIFY, ATTEST-CONFIRM handshake, pure. Specification: protocol/README.md. */
export * from './bodies.ts';
export { NONCE_BYTES, REATTEST_MS, RECORD, SECRET_BYTES, VERSION } from './constants.ts';
export { type Established, type HandshakeOptions, reattestPrologue } from './established.ts';
export { boundAudience, concat, type Evidence, equalBytes, type Role, signedMessage } from './evidence.ts';
export { type AwaitingVerify, type ConfirmSent, initiate, type VerifyReceived } from './initiator.ts';
export { decodeAnswer, decodeRecord, encodeRecord, encodeRefused } from './records.ts';
export {
  type AwaitingConfirm,
  type AwaitingInit,
  type ConfirmReceived,
  type InitReceived,
  respond,
} from './responder.ts';
export {
  deriveSecrets,
  type SessionSecrets,
  wireguardKeyHash,
  wireguardProof,
  wireguardProofHolds,
} from './secrets.ts';
