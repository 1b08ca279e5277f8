/** One connection that carries whole records in order. Under gateway and mesh, console and tests alike. */
import type { Reason } from '../../protocol/reasons.ts';

/** The largest record of the protocol, 65,536 bytes, and some room. */
export const MAX_RECORD_BYTES = 65_600;

/** `send` says to wait above this many bytes unsent, `onDrain` comes below the second. */
export const HIGH_WATER_BYTES = 262_144;
export const LOW_WATER_BYTES = 65_536;
/** A link whose peer does not read, while its owner sends on regardless, is cut here. */
export const MAX_BUFFERED_BYTES = 4 * 1_048_576;

/**
 * A link has one owner at a time: each `on…` replaces the listener before. Records that come while there is no listener,
 * or while paused, wait; the connection is not read meanwhile.
 */
export interface Link {
  /** Texts as sockets give them; IPv4 in its own form. `unix` and port 0 for a socket file. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;

  /** Bytes handed to `send` that the kernel has not taken yet. */
  readonly bufferedBytes: number;
  /** No record will be sent or delivered any more. */
  readonly isClosed: boolean;

  /**
   * Sends one record, 1 to {@link MAX_RECORD_BYTES} bytes, not written into afterwards unless `bufferedBytes` is 0: then
   * nothing of it is kept. False: wait for `onDrain` before more, or the link is closed and the record dropped.
   */
  send(record: Uint8Array): boolean;

  /** What `action` sends, and its `close`, leave together where the connection can. */
  together(action: () => void): void;

  /** A plain Uint8Array, valid for as long as it is kept. A listener that throws ends the link with INTERNAL. */
  onRecord(listener: (record: Uint8Array) => void): void;
  /** There is room again after it ran short. */
  onDrain(listener: () => void): void;
  /**
   * Once, when the connection is gone, also after our own `close`. CLOSED: either end closed it; CONNECTION_LOST: it broke;
   * MALFORMED: the peer broke the framing; OVERLOADED: it does not read; INTERNAL: a listener failed.
   * Told in the next turn to a listener that comes too late.
   */
  onClose(listener: (reason: Reason, detail?: string) => void): void;

  /** Not one record more until `resume`. */
  pause(): void;
  /** Waiting records follow in the next turn. */
  resume(): void;

  /** Sends what is buffered, for a short time, then ends. Idempotent. */
  close(): void;
}

/** A connection that came in, as long as it is there. */
export interface Visit extends Disposable {
  /** It has said what it wants. */
  asked(): void;
}
