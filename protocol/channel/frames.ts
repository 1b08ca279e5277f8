/** A frame to and from the plaintext of a transport record. */
import { ShellstreamError } from '../errors.ts';
import { decodeBody, encodeBody } from './bodies.ts';
import { DATA_HEADER_BYTES, FRAME_TYPE, type Frame, type FrameType, MAX_DATA_BYTES, MAX_FRAME_BYTES } from './frame.ts';

/** Room around a frame for what carries it, so that it is written once where it will leave from. */
export interface FrameRoom {
  readonly before: number;
  readonly behind: number;
  /** Bytes of any content. */
  allocate(length: number): Uint8Array;
}

const NO_ROOM: FrameRoom = { before: 0, behind: 0, allocate: (length) => new Uint8Array(length) };

/** The plaintext of a transport record, with the room around it. */
export function encodeFrame(frame: Frame, room: FrameRoom = NO_ROOM): Uint8Array {
  if (frame.type === 'STREAM_DATA') return encodeData(frame.stream, frame.data, room);
  const body = encodeBody(frame);
  if (1 + body.length > MAX_FRAME_BYTES) {
    throw new ShellstreamError('INTERNAL', `${frame.type} of ${1 + body.length} bytes`);
  }
  const bytes = room.allocate(room.before + 1 + body.length + room.behind);
  bytes[room.before] = FRAME_TYPE[frame.type];
  bytes.set(body, room.before + 1);
  return bytes;
}

/**
 * The frame in the plaintext of a transport record, which it must fill exactly.
 * @throws ShellstreamError MALFORMED, or UNEXPECTED_RECORD for a type that is not in the table
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  const number = bytes[0];
  if (number === undefined) throw new ShellstreamError('MALFORMED', 'an empty frame');
  if (bytes.length > MAX_FRAME_BYTES) throw new ShellstreamError('MALFORMED', `a frame of ${bytes.length} bytes`);
  const type = TYPE_BY_NUMBER.get(number);
  if (type === undefined) throw new ShellstreamError('UNEXPECTED_RECORD', `frame type ${number}`);
  return type === 'STREAM_DATA' ? decodeData(bytes) : decodeBody(type, bytes.subarray(1));
}

const TYPE_BY_NUMBER: ReadonlyMap<number, FrameType> = new Map(
  (Object.keys(FRAME_TYPE) as FrameType[]).map((type) => [FRAME_TYPE[type], type]),
);

function encodeData(stream: number, data: Uint8Array, { before, behind, allocate }: FrameRoom): Uint8Array {
  if (data.length === 0 || data.length > MAX_DATA_BYTES) {
    throw new ShellstreamError('INTERNAL', `STREAM_DATA of ${data.length} bytes`);
  }
  const bytes = allocate(before + DATA_HEADER_BYTES + data.length + behind);
  bytes[before] = FRAME_TYPE.STREAM_DATA;
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(before + 1, stream);
  bytes.set(data, before + DATA_HEADER_BYTES);
  return bytes;
}

function decodeData(bytes: Uint8Array): Frame {
  const length = bytes.length - DATA_HEADER_BYTES;
  // An empty frame would cost a peer no window, and us the work.
  if (length < 1 || length > MAX_DATA_BYTES) throw new ShellstreamError('MALFORMED', `STREAM_DATA of ${length} bytes`);
  const stream = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  if (stream === 0) throw new ShellstreamError('MALFORMED', 'stream 0');
  return { type: 'STREAM_DATA', stream, data: bytes.subarray(DATA_HEADER_BYTES) };
}
