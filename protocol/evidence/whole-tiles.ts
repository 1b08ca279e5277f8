/**
 * A log that grows while it is read: its partial tiles may go once the full ones are there, which begin with them
 * (c2sp.org/tlog-tiles). Who asked for its checkpoint a moment before finds all that it speaks of all the same.
 */
import { encodeBundle, parseBundle } from './bundle.ts';
import type { LogSource } from './log-source.ts';
import { HASH_BYTES } from './merkle.ts';
import { TILE_WIDTH } from './tile.ts';

export function orWholeTiles(source: LogSource): LogSource {
  return {
    checkpoint: () => source.checkpoint(),
    tile: async (tile) => {
      const bytes = await source.tile(tile);
      if (bytes !== undefined || tile.width === TILE_WIDTH) return bytes;
      return (await source.tile({ ...tile, width: TILE_WIDTH }))?.subarray(0, tile.width * HASH_BYTES);
    },
    entries: async (bundle) => {
      const bytes = await source.entries(bundle);
      if (bytes !== undefined || bundle.width === TILE_WIDTH) return bytes;
      const whole = await source.entries({ ...bundle, width: TILE_WIDTH });
      return whole && beginning(whole, bundle.width);
    },
  };
}

/** Of bytes that are no bundle all: whoever parses them says what is wrong. */
function beginning(bytes: Uint8Array, width: number): Uint8Array {
  try {
    return encodeBundle(parseBundle(bytes, TILE_WIDTH).slice(0, width));
  } catch {
    return bytes;
  }
}
