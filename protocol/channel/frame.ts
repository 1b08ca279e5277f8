/**
 * The frames of an open session. A transport record decrypts to exactly one frame: one type byte, then the body, a
 * message of wire.proto; STREAM_DATA alone is `u32 big-endian stream id ‖ data`, so that data is never copied to be
 * parsed. The numbers are part of the specification: protocol/README.md.
 */

import type { Target } from '../capability/model.ts';
import type { PostureLevel } from '../posture/level.ts';
import type { Reason } from '../reasons.ts';
import type { GrantBody } from './grant.ts';

export type Frame =
  | { readonly type: 'GRANT'; readonly grant: GrantBody }
  | { readonly type: 'DENY'; readonly reason: Reason }
  | { readonly type: 'POSTURE'; readonly level: PostureLevel; readonly epoch: bigint }
  | DrainFrame
  | { readonly type: 'DRAINED' }
  | { readonly type: 'TUNNEL'; readonly state: TunnelState; readonly generation: number }
  /** An ATTEST-* record of the inner handshake, 1 to {@link MAX_REATTEST_BYTES}. */
  | { readonly type: 'REATTEST'; readonly record: Uint8Array }
  /** The target is one address, TCP, one port. `window`: bytes the sender of this frame is ready to take. */
  | { readonly type: 'STREAM_OPEN'; readonly stream: number; readonly target: Target; readonly window: number }
  /** 1 to {@link MAX_DATA_BYTES} bytes; a decoded frame's data is a view into the record. */
  | { readonly type: 'STREAM_DATA'; readonly stream: number; readonly data: Uint8Array }
  /** `credit` bytes more, at least 1. */
  | { readonly type: 'STREAM_WINDOW'; readonly stream: number; readonly credit: number }
  /** Without a reason: the sender has sent everything, the other direction goes on. */
  | { readonly type: 'STREAM_CLOSE'; readonly stream: number; readonly reason: Reason | undefined }
  | { readonly type: 'PING'; readonly opaque: bigint }
  | { readonly type: 'PONG'; readonly opaque: bigint }
  | { readonly type: 'CLOSE'; readonly reason: Reason }
  /** A packet of the tunnel, 1 to {@link MAX_PACKET_BYTES}; a decoded frame's is a view into the record. */
  | { readonly type: 'PACKET'; readonly packet: Uint8Array };

export interface DrainFrame {
  readonly type: 'DRAIN';
  readonly reason: Reason;
  /** The sender's posture level; undefined where posture is not the reason. */
  readonly level: PostureLevel | undefined;
  readonly epoch: bigint;
  /** Milliseconds from receipt until the session ends; 0: now. */
  readonly deadlineMs: number;
}

export type TunnelState = 'ready' | 'removed' | 'failed';

export type FrameType = Frame['type'];

export const FRAME_TYPE = {
  GRANT: 1,
  DENY: 2,
  POSTURE: 3,
  DRAIN: 4,
  DRAINED: 5,
  TUNNEL: 6,
  REATTEST: 7,
  STREAM_OPEN: 8,
  STREAM_DATA: 9,
  STREAM_WINDOW: 10,
  STREAM_CLOSE: 11,
  PING: 12,
  PONG: 13,
  CLOSE: 14,
  PACKET: 15,
} as const satisfies Record<FrameType, number>;

/** A Noise message is at most 65,535 bytes, 16 of them its tag. */
export const MAX_FRAME_BYTES = 65_519;
export const MAX_DATA_BYTES = 32_768;
/** Type byte and stream id before the data. */
export const DATA_HEADER_BYTES = 5;
export const MAX_REATTEST_BYTES = 65_500;
/** WireGuard's at the largest MTU that a tunnel is given, 9,000. */
export const MAX_PACKET_BYTES = 9_216;
