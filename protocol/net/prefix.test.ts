import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Prefix } from '../capability/model.ts';
import { formatAddress, isIpv4Mapped, parseAddress, tryParseAddress } from './address.ts';
import {
  canonicalPrefix,
  formatPrefix,
  hostPrefix,
  intersectPrefixes,
  isCanonicalPrefix,
  isDefaultRoute,
  parseInterfaceAddress,
  parsePrefix,
  prefixContains,
  prefixContainsAddress,
  prefixesEqual,
  prefixesOverlap,
} from './prefix.ts';
import { isAdvertisable } from './special.ts';

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd00:0:0:1::', 'fd00:0:0:1::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is written %s', (text, canonical) => {
    expect(formatAddress(parseAddress(text))).toBe(canonical);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '010.0.0.1',
    '0x7f.0.0.1',
    '127.1',
    '1.2.3.4 ',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '::1%eth0',
    '[::1]',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3',
    `::${'0'.repeat(60)}`,
  ])('%j is none: two readers must not read two hosts', (text) => {
    expect(tryParseAddress(text)).toBeUndefined();
  });

  test('survive being written and read', () => {
    const bytes = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), sparse());
    fc.assert(
      fc.property(bytes, (address) => {
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
    );
  });

  test('of other lengths are not written', () => {
    expect(() => formatAddress(new Uint8Array(5))).toThrow(/4 or 16/);
  });
});

describe('prefixes', () => {
  test('with host bits are a mistake, and the error says what was meant', () => {
    expect(() => parsePrefix('10.1.2.3/16')).toThrow(/10\.1\.0\.0\/16 is meant/);
    expect(formatPrefix(parseInterfaceAddress('10.1.2.3/16'))).toBe('10.1.2.3/16');
  });

  test.each(['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/8/8', '/8'])(
    '%j is none',
    (text) => {
      expect(() => parsePrefix(text)).toThrow(/not an IP prefix/);
      expect(() => parseInterfaceAddress(text)).toThrow(/MALFORMED/);
    },
  );

  test('an address alone is the prefix of itself', () => {
    expect(parsePrefix('10.0.0.1')).toEqual(hostPrefix(parseAddress('10.0.0.1')));
    expect(formatPrefix(parsePrefix('fd00::1'))).toBe('fd00::1/128');
  });

  test('IPv4 and IPv6 never meet', () => {
    const [four, six] = [parsePrefix('0.0.0.0/0'), parsePrefix('::/0')];
    expect(prefixContains(six, four) || prefixContains(four, six) || prefixesOverlap(four, six)).toBe(false);
    expect(isDefaultRoute(four) && isDefaultRoute(six)).toBe(true);
  });

  test('an IPv4-mapped address lies in no IPv6 prefix: a rule for ::/0 opens no 127.0.0.1', () => {
    const mapped = parseAddress('::ffff:127.0.0.1');
    expect(isIpv4Mapped(mapped)).toBe(true);
    expect(prefixContainsAddress(parsePrefix('::/0'), mapped)).toBe(false);
    expect(prefixContainsAddress(parsePrefix('::ffff:127.0.0.0/104'), mapped)).toBe(true);
  });

  test('agree with arithmetic on numbers', () => {
    fc.assert(
      fc.property(prefix(), prefix(), (a, b) => {
        const [x, y] = [range(a), range(b)];
        expect(prefixContains(a, b)).toBe(x.from <= y.from && y.to <= x.to);
        expect(prefixesOverlap(a, b)).toBe(x.from <= y.to && y.from <= x.to);
        expect(prefixesEqual(a, b)).toBe(x.from === y.from && x.to === y.to);
        const both = intersectPrefixes(a, b);
        expect(both !== undefined).toBe(prefixesOverlap(a, b));
        expect(both?.length ?? Math.max(a.length, b.length)).toBe(Math.max(a.length, b.length));
      }),
    );
  });

  test('are canonical only with 4 or 16 bytes, a length that fits and no host bits', () => {
    const ten = parseAddress('10.0.0.0');
    expect(isCanonicalPrefix({ address: ten, length: 8 })).toBe(true);
    for (const wrong of [
      { address: ten, length: 33 },
      { address: ten, length: -1 },
      { address: ten, length: 7.5 },
      { address: ten, length: 4 },
      { address: new Uint8Array(5), length: 0 },
    ]) {
      expect(isCanonicalPrefix(wrong)).toBe(false);
    }
  });
});

test('what can lie behind a site excludes this host, this link, groups and nearly everything', () => {
  const can = ['10.0.0.0/8', '192.168.1.0/24', '203.0.113.7', 'fd00:1::/48', '2001:db8::/32'];
  const cannot = [
    '0.0.0.0/0',
    '::/0',
    '0.0.0.0/1',
    '128.0.0.0/1',
    '127.0.0.1',
    '169.254.169.254',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    'fe80::1',
    'ff02::1',
    '::ffff:10.0.0.0/104',
    '2000::/3',
  ];
  expect(can.filter((text) => !isAdvertisable(parsePrefix(text)))).toEqual([]);
  expect(cannot.filter((text) => isAdvertisable(parsePrefix(text)))).toEqual([]);
});

/** IPv6 addresses with runs of zeros, where the short form has its corners. */
function sparse(): fc.Arbitrary<Uint8Array> {
  const group = fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
  return fc
    .array(group, { minLength: 8, maxLength: 8 })
    .map((groups) => Uint8Array.from(groups.flatMap((value) => [value >> 8, value & 0xff])));
}

/** Few distinct bits, so that containing and overlapping happen. */
function prefix(): fc.Arbitrary<Prefix> {
  const byte = fc.constantFrom(0, 1, 128, 255);
  return fc
    .tuple(fc.array(byte, { minLength: 4, maxLength: 4 }), fc.integer({ min: 0, max: 32 }))
    .map(([bytes, length]) => canonicalPrefix({ address: Uint8Array.from(bytes), length }));
}

function range({ address, length }: Prefix): { from: bigint; to: bigint } {
  const from = address.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  return { from, to: from + (1n << BigInt(address.length * 8 - length)) - 1n };
}
