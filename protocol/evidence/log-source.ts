import type { Bundle, Tile } from './tile.ts';

/** A log as its files: on a disk, over HTTP, in memory. Undefined: there is no such file. */
export interface LogSource {
  checkpoint(): Promise<Uint8Array | undefined>;
  tile(tile: Tile): Promise<Uint8Array | undefined>;
  entries(bundle: Bundle): Promise<Uint8Array | undefined>;
}

/** A record with the salt that opens its commitment. */
export interface Opening {
  readonly salt: Uint8Array;
  readonly record: Uint8Array;
}

/** Of a left-out record whose time is over, the commitment alone is kept. */
export type LeftOutOpening = Opening | { readonly commitment: Uint8Array };
