import { create, type DescMessage, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import {
  AttestInitSchema,
  ConfirmBodySchema,
  PingSchema,
  RequestSchema,
  StreamWindowSchema,
  TargetSchema,
  VerifyBodySchema,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { parseExact } from './parse.ts';

const SEED = Number(process.env.FC_SEED ?? 20_261_121);

describe('parseExact takes what an encoder wrote', () => {
  it('reads a nested message back', () => {
    const request = create(RequestSchema, {
      capabilities: [1, 2, 6],
      targets: [{ prefix: { address: Uint8Array.of(10, 0, 0, 0), length: 8 }, protocol: 6, port: 443 }],
    });
    expect(parseExact(RequestSchema, toBinary(RequestSchema, request), 1_000)).toEqual(request);
  });

  it('reads repeated numbers packed and unpacked alike', () => {
    expect(parseExact(AttestInitSchema, Uint8Array.of(0x0a, 2, 1, 2), 10).versions).toEqual([1, 2]);
    expect(parseExact(AttestInitSchema, Uint8Array.of(0x08, 1, 0x08, 2), 10).versions).toEqual([1, 2]);
  });

  it('reads 64-bit numbers around every edge of what holds them exactly', () => {
    const edges = [32n, 49n, 53n, 56n, 63n, 64n].flatMap((bits) => [2n ** bits - 1n, 2n ** bits, 2n ** bits + 1n]);
    for (const opaque of edges.filter((edge) => edge < 2n ** 64n)) {
      const ping = create(PingSchema, { opaque });
      expect(parseExact(PingSchema, toBinary(PingSchema, ping), 16).opaque).toBe(opaque);
    }
  });
});

describe('parseExact refuses', () => {
  type Attack = readonly [string, DescMessage, readonly number[]];
  const attacks: readonly Attack[] = [
    ['an unknown field that only one side would act on', PingSchema, [8, 1, 0x10, 1]],
    ['a trailing zero byte', PingSchema, [8, 1, 0]],
    ['a singular field given twice, of which parsers pick different ones', StreamWindowSchema, [8, 1, 8, 3, 16, 1]],
    ['a nested message given twice, which parsers merge', TargetSchema, [10, 2, 16, 8, 10, 2, 16, 9]],
    ['a nested message that runs past its parent', RequestSchema, [18, 2, 10, 2, 16, 8]],
    ['a length that runs past the end', VerifyBodySchema, [18, 32, 1, 2]],
    ['a number where the schema has bytes', VerifyBodySchema, [16, 32]],
    ['bytes where the schema has a single number', PingSchema, [10, 1, 1]],
    ['a 64-bit fixed number', PingSchema, [9, 1, 2, 3, 4, 5, 6, 7, 8]],
    ['a group', PingSchema, [11, 12]],
    ['a stream id that a decoder would cut to 32 bits', StreamWindowSchema, [8, 0x81, 0x80, 0x80, 0x80, 0x10]],
    ['a number over 64 bits', PingSchema, [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]],
    ['a number that never ends', PingSchema, [8, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0]],
    ['a number cut short', PingSchema, [8, 128]],
    ['a truth value other than 0 and 1', VerifyBodySchema, [24, 2]],
    ['text that is not UTF-8', ConfirmBodySchema, [42, 1, 255]],
  ];
  it.each(attacks)('%s', (_name, schema, bytes) => {
    expect(reasonThrownBy(() => parseExact(schema, Uint8Array.from(bytes), 100))).toBe('MALFORMED');
  });

  it('more bytes than the caller allows', () => {
    expect(reasonThrownBy(() => parseExact(PingSchema, Uint8Array.of(8, 1), 1))).toBe('MALFORMED');
  });

  it('a bomb of empty elements that would become a thousand times their size', () => {
    const bomb = new Uint8Array(60_000).map((_, i) => (i % 2 === 0 ? 0x12 : 0));
    expect(reasonThrownBy(() => parseExact(RequestSchema, bomb, 65_000))).toBe('MALFORMED');
  });

  it('a bomb of packed numbers', () => {
    const bomb = Uint8Array.of(0x0a, 0x90, 0x4e, ...new Array<number>(10_000).fill(1));
    expect(reasonThrownBy(() => parseExact(AttestInitSchema, bomb, 65_000))).toBe('MALFORMED');
  });
});

describe('parseExact on arbitrary bytes', () => {
  it('throws nothing but MALFORMED, and what it takes has no unknown field', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        for (const schema of [RequestSchema, ConfirmBodySchema, StreamWindowSchema]) {
          const reason = reasonThrownBy(() => expect(parseExact(schema, bytes, 64).$unknown).toBeUndefined());
          expect(['MALFORMED', undefined]).toContain(reason);
        }
      }),
      { seed: SEED, numRuns: 3_000 },
    );
  });

  it('takes every prefix-cut of a message only when a field boundary was cut', () => {
    const whole = toBinary(
      TargetSchema,
      create(TargetSchema, { prefix: { address: Uint8Array.of(10, 0, 0, 0), length: 8 }, protocol: 6, port: 443 }),
    );
    const taken = [...whole.keys()].filter(
      (length) => reasonThrownBy(() => parseExact(TargetSchema, whole.subarray(0, length), 100)) === undefined,
    );
    expect(taken).toEqual([0, 10, 12]);
  });
});

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
