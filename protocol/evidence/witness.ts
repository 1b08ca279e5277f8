/**
 * Asking a witness for its cosignature, c2sp.org/tlog-witness: what goes to `add-checkpoint` and what may come back. Who asks
 * believes nothing of an answer but a cosignature that verifies.
 */
import { ShellstreamError } from '../errors.ts';
import { fromUtf8, toBase64, utf8 } from './bytes.ts';
import { type NoteSignature, parseSignature } from './note.ts';

/** Of an answer that is read at all; 16 post-quantum signatures fit. */
export const MAX_WITNESS_ANSWER = 65_536;
export const WITNESS_SIZE_TYPE = 'text/x.tlog.size';

/** A consistency proof of the specification has no more hashes. */
const MAX_PROOF = 63;
const MAX_LINES = 16;

export type WitnessAnswer =
  | { readonly kind: 'cosigned'; readonly signatures: readonly NoteSignature[] }
  /** The witness holds another size; undefined: it did not say which, so it holds another tree of ours. */
  | { readonly kind: 'conflict'; readonly size: number | undefined }
  /** By its state it cannot cosign: what it holds is no beginning of what it was shown. */
  | { readonly kind: 'inconsistent' }
  | { readonly kind: 'refused'; readonly why: string };

/** The body of a request. `proof`: that the tree of `oldSize` is the beginning of the checkpoint's. */
export function formatAddCheckpoint(oldSize: number, proof: readonly Uint8Array[], checkpoint: Uint8Array): Uint8Array {
  if (proof.length > MAX_PROOF) throw new ShellstreamError('INTERNAL', `a proof of ${proof.length} hashes`);
  const head = utf8(`old ${oldSize}\n${proof.map((hash) => `${toBase64(hash)}\n`).join('')}\n`);
  const body = new Uint8Array(head.length + checkpoint.length);
  body.set(head);
  body.set(checkpoint, head.length);
  return body;
}

/** @param type of the content, as the header has it. @throws ShellstreamError MALFORMED */
export function parseWitnessAnswer(status: number, type: string | undefined, body: Uint8Array): WitnessAnswer {
  if (body.length > MAX_WITNESS_ANSWER) throw malformed(`${body.length} bytes`);
  switch (status) {
    case 200:
      return { kind: 'cosigned', signatures: parseLines(body) };
    case 409:
      return { kind: 'conflict', size: type === WITNESS_SIZE_TYPE ? parseSize(body) : undefined };
    case 422:
      return { kind: 'inconsistent' };
    case 403:
      return { kind: 'refused', why: 'it knows none of the keys that sign this log (403)' };
    case 404:
      return { kind: 'refused', why: 'it does not know this log (404)' };
    default:
      return { kind: 'refused', why: `status ${status}` };
  }
}

function parseLines(body: Uint8Array): NoteSignature[] {
  const text = fromUtf8(body);
  if (text === undefined || !text.endsWith('\n')) throw malformed('no lines of signatures');
  const lines = text.slice(0, -1).split('\n');
  if (lines.length > MAX_LINES) throw malformed(`${lines.length} lines`);
  return lines.map(parseSignature);
}

function parseSize(body: Uint8Array): number {
  const text = fromUtf8(body) ?? '';
  const size = Number(text);
  if (!/^(0|[1-9][0-9]{0,15})\n$/.test(text) || !Number.isSafeInteger(size)) throw malformed('no size');
  return size;
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `answer of a witness: ${what}`);
}
