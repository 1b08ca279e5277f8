/**
 * An open session: frames (`frame.ts` the values, `frames.ts` the bytes) and the machine that speaks them
 * (`channel.ts`, over `streams.ts`, `stream.ts`, `liveness.ts` and the legality table in `phase.ts`).
 */
export {
  Channel,
  type ChannelOptions,
  DEFAULT_MAX_STREAMS,
  DEFAULT_WINDOW_BYTES,
  MAX_FINAL_FRAMES,
  type SessionFrame,
} from './channel.ts';
export type { ChannelEvent, StreamEvent } from './events.ts';
export {
  DATA_HEADER_BYTES,
  type DrainFrame,
  FRAME_TYPE,
  type Frame,
  type FrameType,
  MAX_DATA_BYTES,
  MAX_FRAME_BYTES,
  MAX_PACKET_BYTES,
  MAX_REATTEST_BYTES,
  type TunnelState,
} from './frame.ts';
export { decodeFrame, encodeFrame, type FrameRoom } from './frames.ts';
export { type Governor, type GrantBody, MAX_GRANT_BYTES } from './grant.ts';
