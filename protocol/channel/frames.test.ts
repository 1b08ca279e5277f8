import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import { DrainSchema, StreamOpenSchema, type Tunnel_State, TunnelSchema } from '../gen/shellstream/wire/v1/wire_pb.ts';
import { FRAME_TYPE, type Frame, MAX_DATA_BYTES, MAX_PACKET_BYTES, MAX_REATTEST_BYTES } from './frame.ts';
import { decodeFrame, encodeFrame } from './frames.ts';

const SEED = Number(process.env.FC_SEED ?? 20_261_121);
const HOST = { prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 32 }, protocol: 6, port: 22 };

const ONE_OF_EACH: readonly Frame[] = [
  {
    type: 'GRANT',
    grant: {
      mode: 'overlay',
      capabilities: ['OBSERVE', 'CONNECT'],
      targets: [HOST, { prefix: { address: new Uint8Array(16), length: 0 }, protocol: 58, port: 0 }],
      advertise: [{ address: Uint8Array.of(10, 9, 0, 0), length: 16 }],
      reachable: [{ address: Uint8Array.of(10, 8, 0, 0), length: 16 }],
      lifetimeMs: 3_600_000,
      effectiveLevel: 3,
      governedBy: 'initiator',
      postureLevel: 5,
      postureEpoch: 2n ** 63n,
      accordHash: new Uint8Array(32).fill(7),
      secret: new Uint8Array(32).fill(9),
      wireguard: {
        publicKey: new Uint8Array(32).fill(1),
        proof: new Uint8Array(32).fill(2),
        port: 51_840,
        addresses: [Uint8Array.of(10, 64, 0, 1)],
      },
    },
  },
  { type: 'DENY', reason: 'NO_CAPABILITY_LEFT' },
  { type: 'POSTURE', level: 2, epoch: 12n },
  { type: 'DRAIN', reason: 'POSTURE_DRAIN', level: 3, epoch: 4n, deadlineMs: 4_000 },
  { type: 'DRAIN', reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: 0 },
  { type: 'DRAINED' },
  { type: 'TUNNEL', state: 'removed', generation: 2 },
  { type: 'REATTEST', record: new Uint8Array(MAX_REATTEST_BYTES).fill(3) },
  { type: 'STREAM_OPEN', stream: 1, target: HOST, window: 262_144 },
  { type: 'STREAM_DATA', stream: 0xfffffffe, data: new Uint8Array(MAX_DATA_BYTES).fill(5) },
  { type: 'STREAM_WINDOW', stream: 2, credit: 1 },
  { type: 'STREAM_CLOSE', stream: 3, reason: undefined },
  { type: 'STREAM_CLOSE', stream: 3, reason: 'TARGET_UNREACHABLE' },
  { type: 'PING', opaque: 2n ** 64n - 1n },
  { type: 'PONG', opaque: 0n },
  { type: 'CLOSE', reason: 'CLOSED' },
  { type: 'PACKET', packet: new Uint8Array(MAX_PACKET_BYTES).fill(4) },
];

describe('a frame', () => {
  it.each(ONE_OF_EACH.map((frame) => [frame.type, frame] as const))('%s survives the wire', (_type, frame) => {
    const bytes = encodeFrame(frame);
    expect(bytes[0]).toBe(FRAME_TYPE[frame.type]);
    expect(decodeFrame(bytes)).toEqual(frame);
  });

  it('of every type is in the list above', () => {
    expect(new Set(ONE_OF_EACH.map(({ type }) => type))).toEqual(new Set(Object.keys(FRAME_TYPE)));
  });

  it('STREAM_DATA is decoded without a copy', () => {
    const bytes = encodeFrame({ type: 'STREAM_DATA', stream: 1, data: Uint8Array.of(1, 2, 3) });
    const frame = decodeFrame(bytes);
    expect(frame.type === 'STREAM_DATA' && frame.data.buffer === bytes.buffer).toBe(true);
  });

  it('tells the peer the coarse reason only', () => {
    const close = decodeFrame(encodeFrame({ type: 'CLOSE', reason: 'SAT_EXPIRED' }));
    expect(close).toEqual({ type: 'CLOSE', reason: 'NOT_AUTHENTICATED' });
  });
});

describe('a hostile frame is refused:', () => {
  const drain = (fields: { reason?: number; level?: number }): number[] => [
    4,
    ...toBinary(DrainSchema, create(DrainSchema, fields)),
  ];
  const open = (target: Partial<typeof HOST> | undefined, stream = 1): number[] => [
    8,
    ...toBinary(
      StreamOpenSchema,
      create(StreamOpenSchema, { stream, ...(target === undefined ? {} : { target: { ...HOST, ...target } }) }),
    ),
  ];
  const tunnel = (state: Tunnel_State, generation: number): number[] => [
    6,
    ...toBinary(TunnelSchema, create(TunnelSchema, { state, generation })),
  ];
  it.each<readonly [string, number[], string]>([
    ['nothing at all', [], 'MALFORMED'],
    ['type 0', [0], 'UNEXPECTED_RECORD'],
    ['a type of the future', [16, 1, 2, 3], 'UNEXPECTED_RECORD'],
    ['a packet of nothing', [15], 'MALFORMED'],
    ['a packet longer than any', [15, ...Array(MAX_PACKET_BYTES + 1).fill(1)], 'MALFORMED'],
    ['an ATTEST record where a frame belongs', [16], 'UNEXPECTED_RECORD'],
    ['data without a byte, which costs its sender no window', [9, 0, 0, 0, 1], 'MALFORMED'],
    ['data with half a stream id', [9, 0, 0], 'MALFORMED'],
    ['data on stream 0', [9, 0, 0, 0, 0, 1], 'MALFORMED'],
    ['data over 32 KiB', [9, 0, 0, 0, 1, ...new Uint8Array(MAX_DATA_BYTES + 1)], 'MALFORMED'],
    ['a window of nothing', [10, 8, 1], 'MALFORMED'],
    ['a window for stream 0', [10, 16, 1], 'MALFORMED'],
    ['a posture level of 0 from a peer', [3], 'MALFORMED'],
    ['a posture level of 6', [3, 8, 6], 'MALFORMED'],
    ['a drain without a reason', drain({ level: 3 }), 'MALFORMED'],
    ['a drain to level 9', drain({ reason: 603, level: 9 }), 'MALFORMED'],
    ['a close without a reason', [14], 'MALFORMED'],
    ['a denial without a reason', [2], 'MALFORMED'],
    ['DRAINED with a body', [5, 8, 1], 'MALFORMED'],
    ['an empty inner record', [7], 'MALFORMED'],
    ['a stream without a target', open(undefined), 'MALFORMED'],
    ['a stream to UDP', open({ protocol: 17 }), 'MALFORMED'],
    ['a stream to every port', open({ port: 0 }), 'MALFORMED'],
    [
      'a stream to a whole network, which would leave the choice to the other side',
      open({ prefix: { address: Uint8Array.of(10, 0, 0, 0), length: 8 } }),
      'MALFORMED',
    ],
    ['a tunnel in no state', tunnel(0, 1), 'MALFORMED'],
    ['a tunnel of generation 0', tunnel(1, 0), 'MALFORMED'],
    ['a grant without a mode', [1], 'MALFORMED'],
    ['a ping with a trailing byte', [12, 8, 1, 0], 'MALFORMED'],
  ])('%s', (_name, bytes, reason) => {
    expect(reasonThrownBy(() => decodeFrame(Uint8Array.from(bytes)))).toBe(reason);
  });

  it('any bytes decode to a frame that encodes again, or throw one of two reasons', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 16 }), fc.uint8Array({ maxLength: 48 }), (type, body) => {
        const reason = reasonThrownBy(() => {
          const frame = decodeFrame(Uint8Array.of(type, ...body));
          expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
        });
        expect([undefined, 'MALFORMED', 'UNEXPECTED_RECORD']).toContain(reason);
      }),
      { seed: SEED, numRuns: 5_000 },
    );
  });
});

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof Error && error.name === 'ShellstreamError' ? reasonOf(error) : String(error);
  }
}
