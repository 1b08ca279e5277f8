import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeArtifact } from '../../protocol/evidence/index.ts';
import { mutation, transit } from './fixtures.ts';
import { packRecord, unpackRecord } from './packed-record.ts';
import type { Recording } from './recorder.ts';

/** Numbers parts as they come. */
class Parts {
  readonly all: Uint8Array[] = [];
  readonly numberOf = (record: Uint8Array, start: number, end: number): number => {
    const part = record.slice(start, end);
    const known = this.all.findIndex((one) => Buffer.from(one).equals(part));
    return known < 0 ? this.all.push(part) - 1 : known;
  };
  readonly partOf = (number: number): Uint8Array | undefined => this.all[number];
}

function recordOf(body: Recording): Uint8Array {
  return encodeArtifact({ atMs: 1_800_000_000_000n, postureLevel: 3, postureEpoch: 7n, body });
}

test('what many records share stands once, and what was hashed comes back bit for bit', () => {
  const parts = new Parts();
  const records = [transit(1), transit(2), mutation(3), mutation(4)].map(recordOf);
  const packed = records.map((record) => packRecord(record, parts.numberOf));
  // The accord's hash, shared by both kinds, and two SPIFFE IDs.
  expect(parts.all).toHaveLength(3);
  expect(packed.map((bytes) => unpackRecord(bytes, parts.partOf))).toEqual(records);
  expect(packed.map(({ length }, i) => (records[i]?.length ?? 0) - length)).toEqual([96, 96, 28, 28]);
});

test('whatever a record is, it comes back: by parts, without any, and when it looks packed itself', () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  const anything = fc.oneof(
    bytes,
    bytes.map((tail) => Uint8Array.of(0, ...tail)),
    bytes.map((tail) => Uint8Array.from([...recordOf(transit(1)).subarray(0, 60), ...tail])),
  );
  fc.assert(
    fc.property(anything, fc.boolean(), (record, hasRoom) => {
      const parts = new Parts();
      const packed = packRecord(record, hasRoom ? parts.numberOf : () => undefined);
      expect(unpackRecord(packed, parts.partOf)).toEqual(record);
    }),
  );
});

test('attack: damaged bytes that name a long part ever again are nothing, and take no memory', () => {
  const part = new Uint8Array(512);
  const bomb = Uint8Array.from([0, ...Array.from({ length: 100_000 }, () => [0, 0]).flat(), 0]);
  expect(unpackRecord(bomb, () => part)).toBeUndefined();
});

test('torn bytes, and those that name a part that is not there, are nothing', () => {
  const parts = new Parts();
  const packed = packRecord(recordOf(transit(1)), parts.numberOf);
  expect(unpackRecord(packed, () => undefined)).toBeUndefined();
  expect(unpackRecord(packed.subarray(0, 20), parts.partOf)).toBeUndefined();
  expect(unpackRecord(Uint8Array.of(0), parts.partOf)).toBeUndefined();
});
