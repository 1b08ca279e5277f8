import { describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { concatenatedElements, DerReader, TAG } from './der.ts';

describe('strict DER refuses', () => {
  test.each([
    ['nothing at all', []],
    ['a tag without a length', [0x30]],
    ['an element longer than what holds it', [0x30, 0x02, 0x05]],
    ['an indefinite length (BER)', [0x30, 0x80, 0x00, 0x00]],
    ['a length below 128 in long form (BER)', [0x04, 0x81, 0x01, 0xaa]],
    ['a length with a leading zero (BER)', [0x04, 0x82, 0x00, 0x80, ...Array(128).fill(0)]],
    ['a length of four bytes', [0x04, 0x84, 0x00, 0x00, 0x00, 0x01, 0xaa]],
    ['a reserved length', [0x04, 0xff]],
    ['a tag of several bytes', [0x1f, 0x81, 0x01, 0x00]],
  ])('%s', (_why, bytes) => refuses(() => reader(bytes).next()));

  test('trailing bytes', () => {
    const two = reader([0x05, 0x00, 0x05, 0x00]);
    two.next();
    refuses(() => two.end());
  });

  test('a child that reaches beyond its parent into what follows', () => {
    const parent = reader([0x30, 0x03, 0x04, 0x02, 0xaa, 0xbb]).next();
    refuses(() => parent.children().next());
  });

  test.each([
    ['a boolean of 01', [0x01, 0x01, 0x01], 'boolean'],
    ['a boolean of two bytes', [0x01, 0x02, 0xff, 0xff], 'boolean'],
    ['an empty integer', [0x02, 0x00], 'integer'],
    ['an integer with a leading zero', [0x02, 0x02, 0x00, 0x01], 'integer'],
    ['an integer with leading ones', [0x02, 0x02, 0xff, 0x80], 'integer'],
    ['a negative number where a count belongs', [0x02, 0x01, 0x80], 'smallInteger'],
    ['a number of five bytes', [0x02, 0x05, 0x01, 0, 0, 0, 0], 'smallInteger'],
    ['an object identifier with padding', [0x06, 0x02, 0x80, 0x01], 'oid'],
    ['an object identifier cut short', [0x06, 0x01, 0x81], 'oid'],
    ['an empty object identifier', [0x06, 0x00], 'oid'],
    ['key bits that are no whole bytes', [0x03, 0x02, 0x01, 0x80], 'wholeBits'],
    ['named bits with trailing zeros', [0x03, 0x02, 0x00, 0x80], 'namedBits'],
    ['named bits with unused bits set', [0x03, 0x02, 0x07, 0x81], 'namedBits'],
    ['text with a NUL, which hides what follows from C', [0x16, 0x03, 0x61, 0x00, 0x62], 'ascii'],
    ['text outside ASCII', [0x16, 0x01, 0xe9], 'ascii'],
    ['a primitive read as a structure', [0x04, 0x00], 'children'],
  ] as const)('%s', (_why, bytes, read) => refuses(() => reader(bytes).next()[read]()));

  test('more elements than the limit', () => {
    const bytes = Uint8Array.from(Array(3).fill([0x30, 0x00]).flat());
    expect(concatenatedElements(bytes, 3)).toHaveLength(3);
    refuses(() => concatenatedElements(bytes, 2));
  });
});

test('strict DER reads what is in order', () => {
  const [oid, count, bits] = [
    reader([0x06, 0x03, 0x55, 0x1d, 0x0f]).expect(TAG.oid).oid(),
    reader([0x02, 0x02, 0x00, 0x80]).expect(TAG.integer).smallInteger(),
    reader([0x03, 0x02, 0x01, 0x06]).expect(TAG.bitString).namedBits(),
  ];
  expect([oid, count, [...bits]]).toEqual(['2.5.29.15', 128, [5, 6]]);
  expect(reader([0x06, 0x03, 0x88, 0x37, 0x03]).next().oid()).toBe('2.999.3');
});

function reader(bytes: readonly number[]): DerReader {
  return new DerReader(Uint8Array.from(bytes));
}

function refuses(action: () => unknown): void {
  let reason: string | undefined;
  try {
    action();
  } catch (error) {
    reason = reasonOf(error);
  }
  expect(reason).toBe('SVID_MALFORMED');
}
