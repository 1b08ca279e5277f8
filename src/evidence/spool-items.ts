/** What goes into a spool, and what it says of itself. */
import type { LogEntry } from '../../protocol/evidence/index.ts';

/** What one batch holds. Records come encoded: what is hashed is what is stored. */
export type SpoolItem =
  | {
      readonly to: 'log';
      readonly record: Uint8Array;
      readonly kind: number;
      /** Of session transits: the level at transit. */
      readonly level: number | undefined;
      readonly intent?: IntentMark | undefined;
    }
  | {
      readonly to: 'left-out';
      readonly record: Uint8Array;
      readonly day: number;
      readonly level: number;
      readonly intent?: IntentMark | undefined;
    }
  | { readonly to: 'public'; readonly entry: Exclude<LogEntry, { kind: 'record' }> };

/** An intent stands open until an outcome or a compensation of the same kind and id closes it. */
export interface IntentMark {
  readonly kind: number;
  readonly id: Uint8Array;
  readonly opens: boolean;
}

/** What goes with a batch besides its items. */
export interface BatchNotes {
  /** The next transit number, after this batch. */
  readonly transit?: number;
  /** Left-out records below this number are in batches. */
  readonly batched?: number;
  readonly keys?: readonly SamplingKey[];
}

export interface SamplingKey {
  readonly day: number;
  readonly key: Uint8Array;
  readonly isRevealed: boolean;
}

/** Where an item is: its index in the log, or its number among those left out. */
export interface Place {
  readonly in: 'log' | 'left-out';
  readonly at: number;
}

export interface SpoolRoom {
  readonly usedBytes: number;
  readonly budgetBytes: number;
  /** Ordinary evidence is refused. */
  readonly isFull: boolean;
  /** The room on the disk that is kept for the console is there. */
  readonly isReserveHeld: boolean;
}
