/** Signed notes, c2sp.org/signed-note: a text and lines that sign it. The text counts for nothing until a known key signed it. */
import { ShellstreamError } from '../errors.ts';
import { concatBytes, fromBase64, fromUtf8, toBase64, utf8 } from './bytes.ts';
import type { Ed25519 } from './ed25519.ts';
import { isKeyName, type NoteKey, type NoteSigner } from './note-key.ts';

/** A note that parses; nothing of it is believed yet. */
export interface Note {
  /** Ends in a newline; what is signed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: number;
  /** What follows the key id. */
  readonly signature: Uint8Array;
}

/** At least 16 signatures must be taken; post-quantum ones have 5 KB. More is a reader's memory given away. */
export const MAX_NOTE_BYTES = 131_072;
const MAX_SIGNATURES = 64;
const MAX_SIGNATURE_CHARACTERS = 8_192;
const KEY_ID_BYTES = 4;

/** @throws ShellstreamError MALFORMED */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > MAX_NOTE_BYTES) throw malformed(`${bytes.length} bytes, at most ${MAX_NOTE_BYTES}`);
  const all = fromUtf8(bytes);
  if (all === undefined) throw malformed('not UTF-8');
  if (hasControl(all)) throw malformed('a control character');
  const split = all.lastIndexOf('\n\n');
  if (split < 0 || !all.endsWith('\n')) throw malformed('no signature after an empty line');
  const lines = all.slice(split + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw malformed(`${lines.length} signatures, at most ${MAX_SIGNATURES}`);
  return { text: all.slice(0, split + 1), signatures: lines.map(parseSignature) };
}

export function formatNote({ text, signatures }: Note): Uint8Array {
  return utf8(`${text}\n${signatures.map(formatSignature).join('')}`);
}

/** A signature line, newline included. */
export function formatSignature({ name, keyId, signature }: NoteSignature): string {
  const id = Uint8Array.of(keyId >>> 24, keyId >>> 16, keyId >>> 8, keyId);
  return `— ${name} ${toBase64(concatBytes([id, signature]))}\n`;
}

/** @param text ends in a newline and holds no other control character. */
export function signNote(text: string, signers: readonly NoteSigner[]): Note {
  if (!text.endsWith('\n') || hasControl(text)) throw new ShellstreamError('INTERNAL', 'no text for a note');
  const message = utf8(text);
  return {
    text,
    signatures: signers.map((signer) => ({ name: signer.name, keyId: signer.id, signature: signer.sign(message) })),
  };
}

/**
 * The keys of `known`, all of the log's own type, that signed the note. None, or one whose signature is wrong, and nothing
 * of it may be believed: the answer is then the reason in words.
 */
export function verifyNote(
  ed25519: Ed25519,
  note: Note,
  known: readonly NoteKey[],
): { readonly signedBy: readonly NoteKey[] } | { readonly refused: string } {
  const message = utf8(note.text);
  const signedBy: NoteKey[] = [];
  for (const { name, keyId, signature } of note.signatures) {
    const key = known.find((candidate) => candidate.name === name && candidate.id === keyId);
    if (key === undefined || key.type !== 'log' || signedBy.includes(key)) continue;
    if (!ed25519.verify(key.publicKey, message, signature)) return { refused: `the signature of ${name} is wrong` };
    signedBy.push(key);
  }
  return signedBy.length === 0 ? { refused: 'no known key signed it' } : { signedBy };
}

/** Below U+0020, but for the newline. */
function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 && code !== 0x0a) return true;
  }
  return false;
}

/** A signature line without its newline. @throws ShellstreamError MALFORMED */
export function parseSignature(line: string): NoteSignature {
  const [, name = '', encoded = ''] = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(line) ?? [];
  if (!isKeyName(name) || encoded.length > MAX_SIGNATURE_CHARACTERS) throw malformed('a line that is no signature');
  const bytes = fromBase64(encoded);
  if (bytes === undefined || bytes.length <= KEY_ID_BYTES) throw malformed('a signature that is no base64');
  const keyId = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return { name, keyId, signature: bytes.subarray(KEY_ID_BYTES) };
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `note: ${what}`);
}
