import { describe, expect, test } from 'vitest';
import { encodeFrame } from '../../protocol/channel/frames.ts';
import { Random } from '../engine/random.ts';
import { FRAMES, HANDSHAKE_PAYLOADS } from '../targets/examples.ts';
import { authorityCertificate, intermediate, leaf, leafKey } from '../targets/keys.ts';
import { der } from './der.ts';
import type { Grammar } from './format.ts';
import { jwt } from './json.ts';
import { protobuf } from './protobuf.ts';
import { joined, pieces, sequenceOf } from './sequence.ts';
import { treeFormat } from './tree.ts';

const MESSAGES = [
  ...HANDSHAKE_PAYLOADS,
  ...FRAMES.filter(({ type }) => type !== 'STREAM_DATA').map((one) => encodeFrame(one).subarray(1)),
];
const CERTIFICATES = [authorityCertificate, intermediate(), leaf(leafKey)];

describe('a grammar takes a message apart and puts the same bytes together', () => {
  test.each<readonly [string, Grammar, readonly Uint8Array[]]>([
    ['protobuf', protobuf, MESSAGES],
    ['DER', der, CERTIFICATES],
    ['a sequence', sequenceOf(der), [joined(CERTIFICATES)]],
    ['a sequence with heads', sequenceOf(protobuf, 3), [joined(MESSAGES.map((one) => Uint8Array.of(1, 2, 3, ...one)))]],
  ])('%s', (_name, grammar, inputs) => {
    for (const input of inputs) {
      const elements = grammar.decode(input);
      expect(elements).toBeDefined();
      expect(Buffer.from(grammar.encode(elements ?? []))).toEqual(Buffer.from(input));
    }
  });
});

test('what a tree mutation makes of DER is DER again, whatever it changed', () => {
  const random = new Random(1);
  const format = treeFormat(der);
  let whole = 0;
  for (let n = 0; n < 300; n += 1) {
    const changed = format.mutate(leaf(leafKey), { random, dictionary: [], donor: authorityCertificate });
    if (changed !== undefined && der.decode(changed) !== undefined) whole += 1;
  }
  expect(whole).toBe(300);
});

test('a mutated token keeps its three parts', () => {
  const token = Buffer.from('eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJhIn0.AAAA');
  const material = { random: new Random(1), dictionary: [], donor: token };
  for (let n = 0; n < 200; n += 1) {
    expect(
      Buffer.from(jwt.mutate(token, material) ?? [])
        .toString()
        .split('.'),
    ).toHaveLength(3);
  }
});

test('pieces that were joined come apart', () => {
  expect(pieces(joined(CERTIFICATES)).map((piece) => Buffer.from(piece))).toEqual(
    CERTIFICATES.map((one) => Buffer.from(one)),
  );
});
