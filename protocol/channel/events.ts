/** What the channel tells its owner. */
import type { Target } from '../capability/model.ts';
import type { PostureLevel } from '../posture/level.ts';
import type { Reason } from '../reasons.ts';
import type { TunnelState } from './frame.ts';
import type { GrantBody } from './grant.ts';

export type StreamEvent =
  /** The peer wants a stream to `target`. Answer with `accept` or `reset`; until then it can send nothing. */
  | { readonly type: 'stream-opened'; readonly stream: number; readonly target: Target }
  /** The peer took a stream of ours and is ready for bytes. */
  | { readonly type: 'stream-accepted'; readonly stream: number }
  /** There are bytes where there were none: `read` until it gives undefined, the event does not come again before. */
  | { readonly type: 'stream-readable'; readonly stream: number }
  /** A `write` was taken in part; now there is room. */
  | { readonly type: 'stream-writable'; readonly stream: number }
  /** The peer has sent everything and all of it was read; our direction goes on. */
  | { readonly type: 'stream-finished'; readonly stream: number }
  /**
   * The peer gave the stream up: unread bytes are gone. Had it finished before, it only takes nothing more, and this comes
   * when all that it sent was consumed.
   */
  | { readonly type: 'stream-closed'; readonly stream: number; readonly reason: Reason };

export type ChannelEvent =
  | StreamEvent
  | { readonly type: 'posture'; readonly level: PostureLevel; readonly epoch: bigint }
  /** The peer drains: no stream can be opened any more, and the session ends `deadlineMs` from now at the latest. */
  | {
      readonly type: 'drain';
      readonly reason: Reason;
      readonly level: PostureLevel | undefined;
      readonly epoch: bigint;
      readonly deadlineMs: number;
    }
  /** No stream is left at either end. The side that asked for the drain closes by itself. */
  | { readonly type: 'drained' }
  | { readonly type: 'tunnel'; readonly state: TunnelState; readonly generation: number }
  /** A packet of the tunnel, for the moment of the call only: it is a view into the record. */
  | { readonly type: 'packet'; readonly packet: Uint8Array }
  | { readonly type: 'reattest'; readonly record: Uint8Array }
  /** The answer to a re-attestation; only an initiator sees these two. */
  | { readonly type: 'grant'; readonly grant: GrantBody }
  | { readonly type: 'deny'; readonly reason: Reason }
  | { readonly type: 'round-trip'; readonly ms: number }
  /** Last of all, exactly once. Every stream has ended with it. `detail` is for the log, never for the peer. */
  | {
      readonly type: 'closed';
      readonly by: 'us' | 'peer';
      readonly reason: Reason;
      readonly detail: string | undefined;
    };
