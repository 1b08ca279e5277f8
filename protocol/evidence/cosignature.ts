/**
 * Cosignatures of witnesses, c2sp.org/tlog-cosignature, with Ed25519: "at this time this was the largest tree of this log
 * that I had seen, and all that I saw before are its beginnings". What keeps a log from showing two faces.
 */
import { ShellstreamError } from '../errors.ts';
import { concatBytes, utf8 } from './bytes.ts';
import type { Ed25519 } from './ed25519.ts';
import type { Note, NoteSignature } from './note.ts';
import type { NoteKey, NoteSigner } from './note-key.ts';

/** A cosignature that was verified. */
export interface Cosignature {
  readonly witness: NoteKey;
  /** Seconds since the epoch, by the witness's clock. */
  readonly time: number;
}

const TIME_BYTES = 8;
const SIGNATURE_BYTES = 64;

/** @param checkpoint the text of the checkpoint's note. @param time seconds since the epoch. */
export function cosign(witness: NoteSigner, checkpoint: string, time: number): NoteSignature {
  if (witness.type !== 'cosigner') throw new ShellstreamError('INTERNAL', 'a key of another type cosigns nothing');
  const stamp = new Uint8Array(TIME_BYTES);
  new DataView(stamp.buffer).setBigUint64(0, BigInt(time));
  return {
    name: witness.name,
    keyId: witness.id,
    signature: concatBytes([stamp, witness.sign(cosignedMessage(checkpoint, time))]),
  };
}

/**
 * The cosignatures of known witnesses on a checkpoint, at most one each. Signatures of others are passed over; one that
 * calls itself a known witness's and is wrong is told by name in `wrong`.
 */
export function verifyCosignatures(
  ed25519: Ed25519,
  note: Note,
  witnesses: readonly NoteKey[],
): { readonly good: readonly Cosignature[]; readonly wrong: readonly string[] } {
  const good: Cosignature[] = [];
  const wrong: string[] = [];
  for (const { name, keyId, signature } of note.signatures) {
    const witness = witnesses.find((known) => known.name === name && known.id === keyId && known.type === 'cosigner');
    if (witness === undefined || good.some((other) => other.witness === witness)) continue;
    const time = verifiedTime(ed25519, witness, note.text, signature);
    if (time === undefined) wrong.push(name);
    else good.push({ witness, time });
  }
  return { good, wrong };
}

function verifiedTime(ed25519: Ed25519, witness: NoteKey, text: string, stamped: Uint8Array): number | undefined {
  if (stamped.length !== TIME_BYTES + SIGNATURE_BYTES) return undefined;
  const time = Number(new DataView(stamped.buffer, stamped.byteOffset).getBigUint64(0));
  if (!Number.isSafeInteger(time)) return undefined;
  const isGood = ed25519.verify(witness.publicKey, cosignedMessage(text, time), stamped.subarray(TIME_BYTES));
  return isGood ? time : undefined;
}

/** The header keeps a cosignature from being taken for a log's own signature over the same text. */
function cosignedMessage(checkpoint: string, time: number): Uint8Array {
  return utf8(`cosignature/v1\ntime ${time}\n${checkpoint}`);
}
