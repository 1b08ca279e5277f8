/**
 * A RequestToken (REQUIREMENTS N8): one issuer's word that one identity may hand in one proposal, once. Here is all of it
 * that needs no memory; that it was not used before is Quartermaster's to know.
 */
import { ShellstreamError } from '../errors.ts';
import {
  concatBytes,
  type Ed25519,
  type NoteKey,
  type NoteSigner,
  type Sha256,
  sameBytes,
  toHex,
  utf8,
} from '../evidence/index.ts';
import {
  type RequestToken,
  RequestTokenSchema,
  SignedRequestTokenSchema,
} from '../gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { parseExact } from '../wire/parse.ts';
import { writeMessage } from '../wire/write.ts';

export interface TokenTerms {
  /** 16 random bytes. */
  readonly id: Uint8Array;
  readonly subject: SpiffeId;
  readonly audience: SpiffeId;
  /** Milliseconds since the epoch. */
  readonly notBeforeMs: number;
  /** At most {@link LONGEST_TOKEN_MS} later. */
  readonly expiresAtMs: number;
  /** SHA-256 of the only proposal it is good for. */
  readonly proposalHash?: Uint8Array;
}

export interface TokenTrust {
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly issuers: readonly NoteKey[];
  /** Who we are. */
  readonly audience: SpiffeId;
}

/** A token that verified; spent or not is another question. */
export interface VerifiedToken {
  /** 32 hex digits. */
  readonly id: string;
  readonly expiresAtMs: number;
  readonly issuer: string;
}

/** So long must a spent token be remembered. */
export const LONGEST_TOKEN_MS = 3_600_000;
export const MAX_PROPOSAL_BYTES = 65_536;
const MAX_TOKEN_BYTES = 8_192;
const ID_BYTES = 16;
const HASH_BYTES = 32;
const LABEL = utf8('shellstream/1 request token\0');

/** @throws ShellstreamError INTERNAL for terms that nobody would accept */
export function issueRequestToken(signer: NoteSigner, terms: TokenTerms): Uint8Array {
  const { id, subject, audience, notBeforeMs, expiresAtMs, proposalHash } = terms;
  if (id.length !== ID_BYTES || !isTermBounded(notBeforeMs, expiresAtMs))
    throw new ShellstreamError('INTERNAL', 'a request token of these terms would be refused');
  const token = writeMessage(RequestTokenSchema, {
    id,
    subject,
    audience,
    notBeforeMs: BigInt(notBeforeMs),
    expiresAtMs: BigInt(expiresAtMs),
    ...(proposalHash === undefined ? {} : { proposalHash }),
  });
  const signature = signer.sign(concatBytes([LABEL, token]));
  return writeMessage(SignedRequestTokenSchema, { token, keyId: signer.id, signature });
}

/**
 * @param now milliseconds since the epoch.
 * @throws ShellstreamError REQUEST_TOKEN_INVALID or REQUEST_TOKEN_EXPIRED
 */
export function verifyRequestToken(
  { sha256, ed25519, issuers, audience }: TokenTrust,
  bytes: Uint8Array,
  { caller, proposal, now }: { readonly caller: SpiffeId; readonly proposal: Uint8Array; readonly now: number },
): VerifiedToken {
  const {
    token: signed,
    keyId,
    signature,
  } = parsed(() => parseExact(SignedRequestTokenSchema, bytes, MAX_TOKEN_BYTES));
  const message = concatBytes([LABEL, signed]);
  const issuer = issuers.find(({ id, publicKey }) => id === keyId && ed25519.verify(publicKey, message, signature));
  if (issuer === undefined) throw invalid('no configured issuer signed it');
  const token = parsed(() => parseExact(RequestTokenSchema, signed, MAX_TOKEN_BYTES));
  if (token.id.length !== ID_BYTES) throw invalid('its id');
  if (token.subject !== caller) throw invalid('it is for another subject');
  if (token.audience !== audience) throw invalid('it is for another audience');
  if (!isForProposal(token, sha256(proposal))) throw invalid('it is for another proposal');
  const [notBeforeMs, expiresAtMs] = [Number(token.notBeforeMs), Number(token.expiresAtMs)];
  if (!isTermBounded(notBeforeMs, expiresAtMs)) throw invalid('it would have to be remembered for too long');
  if (now < notBeforeMs || now >= expiresAtMs) throw new ShellstreamError('REQUEST_TOKEN_EXPIRED');
  return { id: toHex(token.id), expiresAtMs, issuer: issuer.name };
}

function isForProposal({ proposalHash }: RequestToken, hash: Uint8Array): boolean {
  return proposalHash.length === 0 || (proposalHash.length === HASH_BYTES && sameBytes(proposalHash, hash));
}

function isTermBounded(notBeforeMs: number, expiresAtMs: number): boolean {
  return (
    expiresAtMs > notBeforeMs && expiresAtMs - notBeforeMs <= LONGEST_TOKEN_MS && Number.isSafeInteger(expiresAtMs)
  );
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new ShellstreamError('REQUEST_TOKEN_INVALID', 'it does not parse', { cause });
  }
}

function invalid(what: string): ShellstreamError {
  return new ShellstreamError('REQUEST_TOKEN_INVALID', what);
}
