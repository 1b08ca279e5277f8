/** Records: what one WebSocket message carries. One type byte, then a Noise message, or a reason for REFUSED. */
import { ShellstreamError } from '../errors.ts';
import { type Reason, reasonFromWire, wireCode } from '../reasons.ts';
import { LIMITS, RECORD } from './constants.ts';

export type RecordType = (typeof RECORD)[keyof typeof RECORD];

export function encodeRecord(type: RecordType, content: Uint8Array): Uint8Array {
  const record = new Uint8Array(1 + content.length);
  record[0] = type;
  record.set(content, 1);
  return record;
}

/**
 * The content of a record that must be of this type, as a view.
 * @throws ShellstreamError MALFORMED; UNEXPECTED_RECORD
 */
export function decodeRecord(record: Uint8Array, expected: RecordType): Uint8Array {
  const [type] = record;
  if (type === undefined || record.length > LIMITS.recordBytes)
    throw new ShellstreamError('MALFORMED', 'record length');
  if (type === expected) return record.subarray(1);
  throw new ShellstreamError('UNEXPECTED_RECORD', `record ${type} where ${expected} was due`);
}

/**
 * As `decodeRecord`, for an initiator that waits for its responder's answer: the one place where REFUSED may come. Anywhere
 * else a stranger would choose the reason that our log, metrics and console name.
 * @throws ShellstreamError also the peer's own reason when the record is REFUSED. That is not authenticated: it ends this
 * attempt and must lead to nothing else (no hold, no fallback to another version).
 */
export function decodeAnswer(record: Uint8Array, expected: RecordType): Uint8Array {
  if (record[0] === RECORD.REFUSED) {
    const reason = parseRefused(record);
    throw new ShellstreamError(reason, `refused by the peer: ${reason}`, { fields: { byPeer: true } });
  }
  return decodeRecord(record, expected);
}

/** The coarse answer to a record before keys exist: type byte and the reason's wire code, big-endian. */
export function encodeRefused(reason: Reason): Uint8Array {
  const code = wireCode(reason);
  return Uint8Array.of(RECORD.REFUSED, code >> 8, code & 0xff);
}

function parseRefused(record: Uint8Array): Reason {
  if (record.length !== 3) throw new ShellstreamError('MALFORMED', 'REFUSED');
  return reasonFromWire(((record[1] ?? 0) << 8) | (record[2] ?? 0));
}
