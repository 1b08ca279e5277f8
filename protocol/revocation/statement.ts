/**
 * Signed statements of revocation and heartbeats (protocol/README.md, "Revocation"): their bytes, and the bounds of every
 * field. Nothing here is believed yet; who may say what is in `rules.ts`.
 */
import { ShellstreamError } from '../errors.ts';
import type { Ed25519 } from '../evidence/ed25519.ts';
import {
  HeartbeatSchema,
  SignedSchema,
  StatementSchema,
  type Statement as WireStatement,
} from '../gen/shellstream/revocation/v1/revocation_pb.ts';
import { isTrustDomain, parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import { parseExact } from '../wire/parse.ts';
import { writeMessage } from '../wire/write.ts';

/** What is taken back. Everything that was granted on it ends. */
export type Revoked =
  | { readonly kind: 'session'; readonly session: string }
  | { readonly kind: 'identity'; readonly identity: SpiffeId }
  /** SHA-256 of the signing input of a JWS, hex. */
  | { readonly kind: 'token'; readonly token: string }
  /** Credentials that were issued before `timeMs`, of one identity or of a whole trust domain. */
  | { readonly kind: 'issued-before'; readonly timeMs: number; readonly of: CredentialScope };

export type CredentialScope = { readonly identity: SpiffeId } | { readonly trustDomain: string };

/** Times are milliseconds since the epoch. */
export interface Statement {
  readonly issuer: SpiffeId;
  /** From 1, one more each. */
  readonly number: number;
  readonly issuedAtMs: number;
  /** For people: one line of at most 256 characters. */
  readonly reason: string;
  readonly what: Revoked;
}

/** At its time the issuer had signed so many statements. */
export interface Heartbeat {
  readonly issuer: SpiffeId;
  readonly number: number;
  readonly timeMs: number;
}

/** As it was sent and is kept. `content` is what `body` says; nobody has checked the signature. */
export interface SignedDocument<T> {
  readonly content: T;
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
  readonly bytes: Uint8Array;
}

export type Sign = (message: Uint8Array) => Uint8Array;

/** A whole `Signed`, and so what a store or a feed holds of one statement. */
export const MAX_SIGNED_BYTES = 8_192;
export const MAX_REASON = 256;

const SPACES = '\x20'.repeat(64);
const UTF8 = new TextEncoder();
/** The two never verify as each other: a key that signs heartbeats only cannot be made to revoke. */
export const STATEMENT_CONTEXT: Uint8Array = UTF8.encode(`${SPACES}shellstream/1 revocation\0`);
export const HEARTBEAT_CONTEXT: Uint8Array = UTF8.encode(`${SPACES}shellstream/1 revocation heartbeat\0`);
const SIGNATURE_BYTES = 64;
/** The end of the year 9999: nothing that is added to it leaves the safe integers. */
const LATEST_MS = 253_402_300_799_999;

/** @throws ShellstreamError MALFORMED for a statement that nobody could read */
export function signStatement(statement: Statement, sign: Sign): Uint8Array {
  const bytes = signed(writeMessage(StatementSchema, toWire(statement)), STATEMENT_CONTEXT, sign);
  parseStatement(bytes);
  return bytes;
}

export function signHeartbeat({ issuer, number, timeMs }: Heartbeat, sign: Sign): Uint8Array {
  const body = writeMessage(HeartbeatSchema, { issuer, number: BigInt(number), timeMs: BigInt(timeMs) });
  return signed(body, HEARTBEAT_CONTEXT, sign);
}

/** @throws ShellstreamError MALFORMED */
export function parseStatement(bytes: Uint8Array): SignedDocument<Statement> {
  const document = parseSigned(bytes);
  const wire = parseExact(StatementSchema, document.body, MAX_SIGNED_BYTES);
  const { reason } = wire;
  // The words go to logs and terminals: a line break or an escape sequence would forge their lines.
  if ([...reason].length > MAX_REASON || /\p{C}/u.test(reason)) throw malformed('reason');
  const content = {
    issuer: identity(wire.issuer, 'issuer'),
    number: whole(wire.number, 'number', 1),
    issuedAtMs: time(wire.issuedAtMs),
    reason,
    what: revokedOf(wire),
  };
  return { ...document, content };
}

/** @throws ShellstreamError MALFORMED */
export function parseHeartbeat(bytes: Uint8Array): SignedDocument<Heartbeat> {
  const document = parseSigned(bytes);
  const wire = parseExact(HeartbeatSchema, document.body, MAX_SIGNED_BYTES);
  const content = {
    issuer: identity(wire.issuer, 'issuer'),
    number: whole(wire.number, 'number', 0),
    timeMs: time(wire.timeMs),
  };
  return { ...document, content };
}

export function isSignedBy(
  ed25519: Ed25519,
  publicKey: Uint8Array,
  context: Uint8Array,
  { body, signature }: Pick<SignedDocument<unknown>, 'body' | 'signature'>,
): boolean {
  return ed25519.verify(publicKey, joined(context, body), signature);
}

function signed(body: Uint8Array, context: Uint8Array, sign: Sign): Uint8Array {
  return writeMessage(SignedSchema, { body, signature: sign(joined(context, body)) });
}

function parseSigned(bytes: Uint8Array): Omit<SignedDocument<never>, 'content'> {
  const { body, signature } = parseExact(SignedSchema, bytes, MAX_SIGNED_BYTES);
  if (signature.length !== SIGNATURE_BYTES) throw malformed('signature');
  return { body, signature, bytes };
}

function toWire({ issuer, number, issuedAtMs, reason, what }: Statement) {
  const base = { issuer, number: BigInt(number), issuedAtMs: BigInt(issuedAtMs), reason };
  switch (what.kind) {
    case 'session':
      return { ...base, what: { case: 'session' as const, value: what.session } };
    case 'identity':
      return { ...base, what: { case: 'identity' as const, value: what.identity } };
    case 'token':
      return { ...base, what: { case: 'token' as const, value: what.token } };
    case 'issued-before': {
      const scope = 'identity' in what.of ? { identity: what.of.identity } : { trustDomain: what.of.trustDomain };
      return { ...base, what: { case: 'issuedBefore' as const, value: { timeMs: BigInt(what.timeMs), ...scope } } };
    }
  }
}

function revokedOf({ what }: WireStatement): Revoked {
  switch (what.case) {
    case 'session':
      return { kind: 'session', session: hex(what.value, 32, 'session') };
    case 'identity':
      return { kind: 'identity', identity: identity(what.value, 'identity') };
    case 'token':
      return { kind: 'token', token: hex(what.value, 64, 'token') };
    case 'issuedBefore': {
      const { timeMs, identity: id, trustDomain } = what.value;
      if ((id === '') === (trustDomain === '')) throw malformed('scope');
      if (id !== '') return { kind: 'issued-before', timeMs: time(timeMs), of: { identity: identity(id, 'identity') } };
      if (!isTrustDomain(trustDomain)) throw malformed('trust domain');
      return { kind: 'issued-before', timeMs: time(timeMs), of: { trustDomain } };
    }
    case undefined:
      throw malformed('object');
  }
}

function identity(text: string, what: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw malformed(what);
  return id;
}

function hex(text: string, digits: number, what: string): string {
  if (text.length !== digits || !/^[0-9a-f]+$/.test(text)) throw malformed(what);
  return text;
}

function whole(value: bigint, what: string, least: number): number {
  const number = Number(value);
  if (number < least || number > Number.MAX_SAFE_INTEGER - 1) throw malformed(what);
  return number;
}

function time(value: bigint): number {
  const ms = Number(value);
  if (ms > LATEST_MS) throw malformed('time');
  return ms;
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(one.length + other.length);
  bytes.set(one);
  bytes.set(other, one.length);
  return bytes;
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `revocation: the ${what}`);
}
