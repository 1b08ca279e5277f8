/**
 * Keys of signed notes (c2sp.org/signed-note): the vkey of a verifier, and the skey as golang.org/x/mod/sumdb/note keeps it,
 * so that a key made by either is of use to the other.
 */
import { ShellstreamError } from '../errors.ts';
import { concatBytes, fromBase64, toBase64, toHex, utf8 } from './bytes.ts';
import type { Sha256 } from './merkle.ts';

/** The signature types of ours: a log's own, and the timestamped one of a witness. */
export const KEY_TYPE = { log: 0x01, cosigner: 0x04 } as const;
export type KeyType = keyof typeof KEY_TYPE;

/** A public key that is known beforehand; name and id together are what a signature line calls it by. */
export interface NoteKey {
  readonly type: KeyType;
  readonly name: string;
  /** 4 bytes, as a number. */
  readonly id: number;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** Signs the text of notes. The private key stays with whoever implements it. */
export interface NoteSigner extends NoteKey {
  /** Ed25519 over the message: 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

export interface NoteSecret {
  readonly name: string;
  /** Ed25519 private seed, 32 bytes. */
  readonly seed: Uint8Array;
}

const PUBLIC_KEY_BYTES = 32;
const MAX_NAME_BYTES = 255;
const SECRET_PREFIX = 'PRIVATE+KEY';

/** @throws ShellstreamError MALFORMED for a name or key that no note could carry. */
export function noteKey(sha256: Sha256, type: KeyType, name: string, publicKey: Uint8Array): NoteKey {
  if (!isKeyName(name)) throw malformed('the name of a key');
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw malformed(`a public key of ${publicKey.length} bytes`);
  return { type, name, id: keyId(sha256, type, name, publicKey), publicKey };
}

/** `NAME+ID+KEY` */
export function formatVerifierKey({ type, name, id, publicKey }: NoteKey): string {
  return `${name}+${hexId(id)}+${toBase64(concatBytes([Uint8Array.of(KEY_TYPE[type]), publicKey]))}`;
}

/** @throws ShellstreamError MALFORMED, also when the id is not the key's own. */
export function parseVerifierKey(sha256: Sha256, text: string): NoteKey {
  // Base64 may hold plus signs too: the first two of the text are the separators.
  const [, name = '', id = '', encoded = ''] = /^([^+]*)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{1,256})$/.exec(text) ?? [];
  const bytes = fromBase64(encoded);
  const type = KEY_TYPES.find((known) => KEY_TYPE[known] === bytes?.[0]);
  if (bytes === undefined || type === undefined) throw malformed('a verifier key');
  const key = noteKey(sha256, type, name, bytes.subarray(1));
  if (hexId(key.id) !== id) throw malformed('a verifier key whose id is another’s');
  return key;
}

/** The line of a key file. Secret. */
export function formatSecret(sha256: Sha256, { name, seed }: NoteSecret, publicKey: Uint8Array): string {
  const { id } = noteKey(sha256, 'log', name, publicKey);
  return `${SECRET_PREFIX}+${name}+${hexId(id)}+${toBase64(concatBytes([Uint8Array.of(KEY_TYPE.log), seed]))}`;
}

/** The id is for the caller to compare: it follows from the public key. @throws ShellstreamError MALFORMED, without the text. */
export function parseSecret(text: string): NoteSecret & { readonly id: string } {
  const [, name = '', id = '', encoded = ''] =
    /^PRIVATE\+KEY\+([^+]*)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{1,256})$/.exec(text) ?? [];
  const bytes = fromBase64(encoded);
  if (bytes === undefined || !isKeyName(name)) throw malformed('a signing key');
  if (bytes[0] !== KEY_TYPE.log || bytes.length !== 1 + PUBLIC_KEY_BYTES)
    throw malformed('a signing key of a kind not known');
  return { name, id, seed: bytes.slice(1) };
}

export function hexId(id: number): string {
  return id.toString(16).padStart(8, '0');
}

export function isKeyName(name: string): boolean {
  return name !== '' && !/[\p{White_Space}+\p{Cc}]/u.test(name) && utf8(name).length <= MAX_NAME_BYTES;
}

const KEY_TYPES: readonly KeyType[] = ['log', 'cosigner'];

function keyId(sha256: Sha256, type: KeyType, name: string, publicKey: Uint8Array): number {
  const hash = sha256(utf8(`${name}\n`), Uint8Array.of(KEY_TYPE[type]), publicKey);
  return toNumber(hash.subarray(0, 4));
}

function toNumber(bytes: Uint8Array): number {
  return Number.parseInt(toHex(bytes), 16);
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `note: ${what}`);
}
