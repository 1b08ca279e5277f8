/** Entry bundles of c2sp.org/tlog-tiles: up to 256 entries, each preceded by its length in two bytes, big-endian. */
import { ShellstreamError } from '../errors.ts';
import { TILE_WIDTH } from './tile.ts';

export const MAX_ENTRY_BYTES = 65_535;

export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((total, { length }) => total + 2 + length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > MAX_ENTRY_BYTES) throw new ShellstreamError('INTERNAL', `an entry of ${entry.length} bytes`);
    bytes[at] = entry.length >> 8;
    bytes[at + 1] = entry.length & 0xff;
    bytes.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bytes;
}

/**
 * Exactly `width` entries, as views. @throws ShellstreamError MALFORMED, with the number within the bundle of the first
 * entry that is not whole as `entry` and its byte as `offset`.
 */
export function parseBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  if (width < 1 || width > TILE_WIDTH) throw new ShellstreamError('INTERNAL', `no bundle of ${width} entries`);
  const entries: Uint8Array[] = [];
  let at = 0;
  while (entries.length < width) {
    const [high, low] = [bytes[at], bytes[at + 1]];
    const end = high === undefined || low === undefined ? Number.POSITIVE_INFINITY : at + 2 + high * 256 + low;
    if (end > bytes.length) throw malformed(`entry ${entries.length} is not whole`, entries.length, at);
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  if (at !== bytes.length) throw malformed('bytes after the last entry', width, at);
  return entries;
}

function malformed(what: string, entry: number, offset: number): ShellstreamError {
  return new ShellstreamError('MALFORMED', `entry bundle: ${what}, byte ${offset}`, { fields: { entry, offset } });
}
