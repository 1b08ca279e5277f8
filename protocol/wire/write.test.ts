import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import {
  ConfirmBodySchema,
  EvidenceSchema,
  GrantSchema,
  PingSchema,
  PostureSchema,
  VerifyBodySchema,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { parseExact } from './parse.ts';
import { writeMessage } from './write.ts';

const SEED = Number(process.env.FC_SEED ?? 20_261_121);

describe('writeMessage', () => {
  it('writes the bytes that the library writes, and parseExact reads what the library reads', () => {
    fc.assert(
      fc.property(messages, ([schema, init]) => {
        const bytes = toBinary(schema, create(schema, init as MessageInitShape<DescMessage>));
        expect(Buffer.from(writeMessage(schema, init as MessageInitShape<DescMessage>))).toEqual(Buffer.from(bytes));
        expect(parseExact(schema, bytes, 1_000_000)).toEqual(fromBinary(schema, bytes));
      }),
      { seed: SEED, numRuns: 2_000 },
    );
  });

  it.each([-1, 0.5, 2 ** 32, Number.NaN])('refuses to write %d as 32 bits', (level) => {
    expect(reasonThrownBy(() => writeMessage(PostureSchema, { level }))).toBe('INTERNAL');
  });

  it('refuses a number in a list that does not fit', () => {
    expect(reasonThrownBy(() => writeMessage(ConfirmBodySchema, { versions: [2 ** 32] }))).toBe('INTERNAL');
  });

  it.each([-1n, 2n ** 64n])('refuses to write %d as 64 bits', (opaque) => {
    expect(reasonThrownBy(() => writeMessage(PingSchema, { opaque }))).toBe('INTERNAL');
  });
});

type Sample = readonly [DescMessage, object];

const bytes = fc.uint8Array({ maxLength: 300 });
const uint32 = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const uint64 = fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, 2n ** 64n - 1n));
const text = fc.oneof(fc.string({ maxLength: 200 }), fc.string({ unit: 'binary', maxLength: 20 }));
const prefix = fc.record({ address: bytes, length: uint32 }, { requiredKeys: [] });
const target = fc.record({ prefix, protocol: uint32, port: uint32 }, { requiredKeys: [] });
const request = fc.record(
  { capabilities: fc.array(fc.integer({ min: 0, max: 6 })), targets: fc.array(target), advertise: fc.array(prefix) },
  { requiredKeys: [] },
);
const wireguard = fc.record(
  { publicKey: bytes, proof: bytes, port: uint32, addresses: fc.array(bytes, { maxLength: 3 }) },
  { requiredKeys: [] },
);

const messages: fc.Arbitrary<Sample> = fc.oneof(
  sample(EvidenceSchema, fc.record({ chain: fc.array(bytes, { maxLength: 4 }), signature: bytes, body: bytes })),
  sample(VerifyBodySchema, fc.record({ version: uint32, nonce: bytes, freshSat: fc.boolean(), denial: uint32 })),
  sample(
    ConfirmBodySchema,
    fc.record(
      { versions: fc.array(uint32), responderId: text, sat: text, postureEpoch: uint64, request, wireguard },
      { requiredKeys: [] },
    ),
  ),
  sample(GrantSchema, fc.record({ targets: fc.array(target), lifetimeMs: uint64, wireguard }, { requiredKeys: [] })),
);

function sample<Schema extends DescMessage>(schema: Schema, init: fc.Arbitrary<object>): fc.Arbitrary<Sample> {
  return init.map((value) => [schema, value]);
}

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
