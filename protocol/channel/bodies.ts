/** The protobuf bodies of all frames but STREAM_DATA, each with its own length cap. */
import type { Target } from '../capability/model.ts';
import { assertNever, ShellstreamError } from '../errors.ts';
import {
  CloseSchema,
  DenySchema,
  DrainedSchema,
  DrainSchema,
  GrantSchema,
  PingSchema,
  PongSchema,
  PostureSchema,
  ReattestSchema,
  StreamCloseSchema,
  StreamOpenSchema,
  StreamWindowSchema,
  Tunnel_State,
  TunnelSchema,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { isPostureLevel, type PostureLevel } from '../posture/level.ts';
import { type Reason, reasonFromWire, wireCode } from '../reasons.ts';
import { targetFromWire, targetToWire } from '../wire/convert.ts';
import { parseExact } from '../wire/parse.ts';
import { writeMessage } from '../wire/write.ts';
import { type Frame, type FrameType, MAX_PACKET_BYTES, MAX_REATTEST_BYTES, type TunnelState } from './frame.ts';
import { grantFromWire, grantToWire, MAX_GRANT_BYTES } from './grant.ts';

/** Every body but GRANT and REATTEST is a few numbers and at most one address. */
const MAX_SMALL_BYTES = 128;

type BodiedFrame = Exclude<Frame, { type: 'STREAM_DATA' }>;

export function encodeBody(frame: BodiedFrame): Uint8Array {
  switch (frame.type) {
    case 'GRANT':
      return writeMessage(GrantSchema, grantToWire(frame.grant));
    case 'DENY':
      return writeMessage(DenySchema, { reason: wireCode(frame.reason) });
    case 'POSTURE':
      return writeMessage(PostureSchema, { level: frame.level, epoch: frame.epoch });
    case 'DRAIN':
      return writeMessage(DrainSchema, {
        reason: wireCode(frame.reason),
        level: frame.level ?? 0,
        epoch: frame.epoch,
        deadlineMs: frame.deadlineMs,
      });
    case 'DRAINED':
      return new Uint8Array(0);
    case 'TUNNEL':
      return writeMessage(TunnelSchema, { state: TUNNEL_STATE[frame.state], generation: frame.generation });
    case 'REATTEST':
      return writeMessage(ReattestSchema, { record: frame.record });
    case 'STREAM_OPEN':
      return writeMessage(StreamOpenSchema, {
        stream: frame.stream,
        target: targetToWire(frame.target),
        window: frame.window,
      });
    case 'STREAM_WINDOW':
      return writeMessage(StreamWindowSchema, { stream: frame.stream, credit: frame.credit });
    case 'STREAM_CLOSE':
      return writeMessage(StreamCloseSchema, {
        stream: frame.stream,
        reason: frame.reason === undefined ? 0 : wireCode(frame.reason),
      });
    case 'PING':
      return writeMessage(PingSchema, { opaque: frame.opaque });
    case 'PONG':
      return writeMessage(PongSchema, { opaque: frame.opaque });
    case 'PACKET':
      return frame.packet;
    case 'CLOSE':
      return writeMessage(CloseSchema, { reason: wireCode(frame.reason) });
  }
  return assertNever(frame);
}

export function decodeBody(type: Exclude<FrameType, 'STREAM_DATA'>, body: Uint8Array): Frame {
  switch (type) {
    case 'GRANT':
      return { type, grant: grantFromWire(parseExact(GrantSchema, body, MAX_GRANT_BYTES)) };
    case 'DENY':
      return { type, reason: reasonOf(parseExact(DenySchema, body, MAX_SMALL_BYTES).reason) };
    case 'POSTURE': {
      const { level, epoch } = parseExact(PostureSchema, body, MAX_SMALL_BYTES);
      return { type, level: postureLevel(level), epoch };
    }
    case 'DRAIN': {
      const { reason, level, epoch, deadlineMs } = parseExact(DrainSchema, body, MAX_SMALL_BYTES);
      return {
        type,
        reason: reasonOf(reason),
        level: level === 0 ? undefined : postureLevel(level),
        epoch,
        deadlineMs,
      };
    }
    case 'DRAINED':
      parseExact(DrainedSchema, body, 0);
      return { type };
    case 'TUNNEL': {
      const { state, generation } = parseExact(TunnelSchema, body, MAX_SMALL_BYTES);
      if (generation === 0) throw malformed('tunnel generation', 0);
      return { type, state: tunnelState(state), generation };
    }
    case 'PACKET':
      if (body.length === 0 || body.length > MAX_PACKET_BYTES) throw malformed('packet', body.length);
      return { type, packet: body };
    case 'REATTEST': {
      const { record } = parseExact(ReattestSchema, body, MAX_REATTEST_BYTES + 8);
      if (record.length === 0 || record.length > MAX_REATTEST_BYTES) throw malformed('inner record', record.length);
      return { type, record };
    }
    case 'STREAM_OPEN': {
      const { stream, target, window } = parseExact(StreamOpenSchema, body, MAX_SMALL_BYTES);
      if (target === undefined) throw malformed('stream target', 'absent');
      return { type, stream: streamId(stream), target: streamTarget(targetFromWire(target)), window };
    }
    case 'STREAM_WINDOW': {
      const { stream, credit } = parseExact(StreamWindowSchema, body, MAX_SMALL_BYTES);
      if (credit === 0) throw malformed('credit', 0);
      return { type, stream: streamId(stream), credit };
    }
    case 'STREAM_CLOSE': {
      const { stream, reason } = parseExact(StreamCloseSchema, body, MAX_SMALL_BYTES);
      return { type, stream: streamId(stream), reason: reason === 0 ? undefined : reasonOf(reason) };
    }
    case 'PING':
      return { type, opaque: parseExact(PingSchema, body, MAX_SMALL_BYTES).opaque };
    case 'PONG':
      return { type, opaque: parseExact(PongSchema, body, MAX_SMALL_BYTES).opaque };
    case 'CLOSE':
      return { type, reason: reasonOf(parseExact(CloseSchema, body, MAX_SMALL_BYTES).reason) };
  }
  return assertNever(type);
}

const TUNNEL_STATE = {
  ready: Tunnel_State.READY,
  removed: Tunnel_State.REMOVED,
  failed: Tunnel_State.FAILED,
} as const satisfies Record<TunnelState, Tunnel_State>;

function tunnelState(wire: number): TunnelState {
  for (const state of Object.keys(TUNNEL_STATE) as TunnelState[]) {
    if (TUNNEL_STATE[state] === wire) return state;
  }
  throw malformed('tunnel state', wire);
}

const TCP = 6;

/** A stream is one TCP connection: a range of addresses or ports would leave the choice to the other side. */
function streamTarget(target: Target): Target {
  const { prefix, protocol, port } = target;
  if (prefix.length !== prefix.address.length * 8 || protocol !== TCP || port === 0) {
    throw malformed('stream target', `/${prefix.length} protocol ${protocol} port ${port}`);
  }
  return target;
}

function streamId(stream: number): number {
  if (stream === 0) throw malformed('stream', 0);
  return stream;
}

function reasonOf(code: number): Reason {
  if (code === 0) throw malformed('reason', 0);
  return reasonFromWire(code);
}

function postureLevel(level: number): PostureLevel {
  if (!isPostureLevel(level)) throw malformed('posture level', level);
  return level;
}

function malformed(what: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${what}: ${String(got)}`);
}
