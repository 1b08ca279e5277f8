/**
 * Which records of a day are notarised (P5), by a rule that nobody can bend afterwards: the key of the day is committed to
 * in the log before the day begins and revealed after it, the input is the session's id, and what is left out is committed
 * to in batches. So a gap is either an opening of such a batch, or a deletion.
 */
import { ShellstreamError } from '../errors.ts';
import type { CryptoProvider } from '../noise/crypto.ts';
import type { PostureLevel } from '../posture/level.ts';
import { concatBytes, utf8 } from './bytes.ts';
import type { Sha256 } from './merkle.ts';

export const SAMPLING_KEY_BYTES = 32;
export const MS_A_DAY = 86_400_000;

/** Percent of routine session transits that are notarised, by the level at transit: REQUIREMENTS P5. */
export type SamplingRates = Readonly<Record<PostureLevel, number>>;
export const DEFAULT_RATES: SamplingRates = { 5: 10, 4: 50, 3: 100, 2: 100, 1: 100 };

const KEY_LABEL = utf8('shellstream/1 sampling key\0');
const CHOICE_LABEL = utf8('shellstream/1 sampling choice\0');
const RANGE = 2 ** 32;

/** Days since the epoch, UTC. */
export function dayOf(atMs: number): number {
  return Math.floor(atMs / MS_A_DAY);
}

export function commitToKey(sha256: Sha256, day: number, key: Uint8Array): Uint8Array {
  if (key.length !== SAMPLING_KEY_BYTES)
    throw new ShellstreamError('INTERNAL', `a sampling key of ${key.length} bytes`);
  return sha256(KEY_LABEL, utf8(`${day}\0`), key);
}

/**
 * Whether the transits of a session are notarised: a 32-bit number, which HMAC draws from the id, against the rate. A
 * session that is in at one rate is in at every higher one.
 */
export function isSampled(
  hmacSha256: CryptoProvider['hmacSha256'],
  key: Uint8Array,
  sessionId: Uint8Array,
  percent: number,
): boolean {
  if (percent >= 100) return true;
  const drawn = hmacSha256(key, concatBytes([CHOICE_LABEL, sessionId]));
  const number = new DataView(drawn.buffer, drawn.byteOffset).getUint32(0);
  return number * 100 < percent * RANGE;
}
