import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import { ArtifactSchema } from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import {
  ConfirmBodySchema,
  EvidenceSchema,
  GrantSchema,
  PingSchema,
  PostureSchema,
  VerifyBodySchema,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { Backwards } from './backwards.ts';
import { parseExact } from './parse.ts';
import { writeMessage, writeMessageTo } from './write.ts';

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

  it('writes artifacts, whose body is a choice, as the library does', () => {
    fc.assert(
      fc.property(artifacts, ([schema, init]) => expectAsTheLibrary(schema, init as MessageInitShape<DescMessage>)),
      { seed: SEED, numRuns: 1_000 },
    );
  });

  it.each([0, 1, 127, 128, 129, 5_000, 16_383, 16_384, 16_385])('writes %d bytes and as many letters', (length) => {
    for (const letter of ['a', 'é', '€', '🜂', '\ud83d']) {
      expectAsTheLibrary(ConfirmBodySchema, { responderId: letter.repeat(length), sat: `a${letter}`.repeat(length) });
    }
    expectAsTheLibrary(EvidenceSchema, {
      chain: [new Uint8Array(length), new Uint8Array(1)],
      body: new Uint8Array(2),
    });
  });

  it.each([0n, 127n, 128n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])(
    'writes %d',
    (opaque) => {
      expectAsTheLibrary(PingSchema, { opaque });
    },
  );

  it('gives each message bytes of its own, which no later message changes', () => {
    const one = writeMessage(PingSchema, { opaque: 300n });
    const before = one.slice();
    writeMessage(PingSchema, { opaque: 2n ** 60n });
    expect(one).toEqual(before);
    expect(one.buffer.byteLength).toBe(one.length);
  });

  it('writes messages side by side, and each stays what it was', () => {
    const output = new Backwards();
    const all = Array.from({ length: 300 }, (_, i) => ({
      chain: [new Uint8Array((i * 7) % 400).fill(i)],
      body: bytesOf('b'),
    }));
    all[150] = { chain: [new Uint8Array(40_000).fill(9)], body: bytesOf('longer than a block') };
    const written = all.map((init, i) => {
      if (i % 50 === 0) expect(() => writeMessageTo(output, PostureSchema, { level: -1 })).toThrow();
      return writeMessageTo(output, EvidenceSchema, init);
    });
    expect(written.map((bytes) => Buffer.from(bytes))).toEqual(
      all.map((init) => Buffer.from(writeMessage(EvidenceSchema, init))),
    );
  });

  it('goes on after a message that it refused', () => {
    const refused = { responderId: 'secret', versions: [1, -1] };
    expect(reasonThrownBy(() => writeMessage(ConfirmBodySchema, refused))).toBe('INTERNAL');
    expectAsTheLibrary(ConfirmBodySchema, { versions: [1, 2] });
  });

  it('writes a message that is asked for while another is written', () => {
    const inner = { versions: [1, 2], responderId: 'inner' };
    const outer = {
      versions: [3],
      sat: 'outer',
      get responderId(): string {
        return Buffer.from(writeMessage(ConfirmBodySchema, inner)).toString('latin1');
      },
    };
    expectAsTheLibrary(ConfirmBodySchema, outer);
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

function expectAsTheLibrary<Schema extends DescMessage>(schema: Schema, init: MessageInitShape<Schema>): void {
  expect(Buffer.from(writeMessage(schema, init))).toEqual(Buffer.from(toBinary(schema, create(schema, init))));
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text));
}

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

const counters = fc.record({ packets: uint64, streams: uint32, incomplete: fc.boolean() }, { requiredKeys: [] });
const transit = fc.record(
  {
    phase: fc.nat(3),
    sessionId: bytes,
    transit: uint64,
    initiatorId: text,
    capabilities: fc.array(fc.nat(6)),
    targets: fc.array(target),
    counters: fc.array(counters),
    endedByPeer: fc.boolean(),
    offered: fc.array(target),
  },
  { requiredKeys: [] },
);
const change = fc.record({ fromLevel: uint32, source: text, failedSteps: fc.array(text) }, { requiredKeys: [] });
const artifacts = sample(
  ArtifactSchema,
  fc.record(
    {
      atMs: uint64,
      postureLevel: uint32,
      body: fc.oneof(
        transit.map((value) => ({ case: 'sessionTransit' as const, value })),
        change.map((value) => ({ case: 'postureChange' as const, value })),
      ),
    },
    { requiredKeys: [] },
  ),
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
