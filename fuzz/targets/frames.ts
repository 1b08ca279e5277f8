/** The plaintext of a transport record. */
import { FRAME_TYPE, type Frame, MAX_FRAME_BYTES } from '../../protocol/channel/frame.ts';
import { decodeFrame, encodeFrame } from '../../protocol/channel/frames.ts';
import { protobuf } from '../formats/protobuf.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';
import { FRAMES } from './examples.ts';

export const open: OpenTarget = async () => ({
  about: 'frames: accepted ones read back the same, and are written in one way only',
  covers: ['protocol/channel/frames.ts', 'protocol/channel/bodies.ts', 'protocol/channel/grant.ts', 'protocol/wire/'],
  maxBytes: 70_000,
  format: behind(1, treeFormat(protobuf)),
  dictionary: [...Object.values(FRAME_TYPE).map((number) => Uint8Array.of(number)), Uint8Array.of(0xff, 0xff, 0x03)],
  seeds: FRAMES.map((frame) => encodeFrame(frame)),
  run(input) {
    const read = attempt({ reasons: ['MALFORMED', 'UNEXPECTED_RECORD'] }, () => decodeFrame(input));
    if ('refusal' in read) return `${input[0] ?? ''} ${read.refusal}`;
    const frame = read.value;
    holds(input.length <= MAX_FRAME_BYTES, 'a frame over the limit');
    const written = encodeFrame(frame);
    holds(written.length <= MAX_FRAME_BYTES, 'a frame that cannot be sent on');
    holds(alike(withWireReason(frame), decodeFrame(written)), 'a frame reads back as another');
    holds(alike(encodeFrame(decodeFrame(written)), written), 'a frame is written in two ways');
    return `taken ${frame.type}`;
  },
});

/** Reasons that the wire does not carry are written as the coarser one that stands for them. */
function withWireReason(frame: Frame): Frame {
  return 'reason' in frame && frame.reason !== undefined ? decodeFrame(encodeFrame(frame)) : frame;
}
