import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Prefix } from '../../protocol/capability/model.ts';
import { canonicalPrefix, parsePrefix, prefixContains, prefixesEqual } from '../../protocol/net/prefix.ts';
import { Destinations } from './destinations.ts';

test.each<[string, string, boolean]>([
  ['10.1.0.0/16', '10.1.2.0/24', true],
  ['10.1.2.0/24', '10.1.2.0/24', true],
  ['10.1.2.0/24', '10.1.0.0/16', false],
  ['10.1.2.0/25', '10.1.2.0/24', false],
  ['10.1.0.0/16', '10.2.0.0/16', false],
  ['0.0.0.0/0', '255.255.255.255/32', true],
  ['0.0.0.0/0', 'fd00::/8', false],
  ['::/0', '10.0.0.0/8', false],
  ['::/0', '::ffff:10.0.0.0/104', false],
  ['::ffff:0:0/96', '::ffff:10.0.0.0/104', true],
])('%s has %s in it: %s', (outer, inner, expected) => {
  const destinations = new Destinations([inner, '9.0.0.0/8', '11.0.0.0/8'].map(parsePrefix));
  if (outer === '0.0.0.0/0') for (const other of ['9.0.0.0/8', '11.0.0.0/8']) destinations.delete(parsePrefix(other));
  expect(destinations.hasInside(parsePrefix(outer))).toBe(expected);
});

test('a mapped destination hides no other behind it', () => {
  const destinations = new Destinations(['::ffff:10.0.0.0/104', '2001:db8::/32'].map(parsePrefix));
  expect(destinations.hasInside(parsePrefix('::/0'))).toBe(true);
});

test('whatever came and went, it is as a walk over all of them says', () => {
  const few = fc.constantFrom(0, 1, 127, 128, 255);
  const prefix = fc
    .tuple(fc.constantFrom(4, 16), fc.array(few, { minLength: 16, maxLength: 16 }), fc.nat(128))
    .map(
      ([size, bytes, length]): Prefix =>
        canonicalPrefix({ address: Uint8Array.from(bytes.slice(0, size)), length: Math.min(length, size * 8) }),
    );
  const step = fc.record({ verb: fc.constantFrom('add', 'add', 'delete', 'ask'), prefix });
  fc.assert(
    fc.property(fc.array(prefix), fc.array(step, { maxLength: 60 }), (first, steps) => {
      const destinations = new Destinations(first);
      const all = [...first];
      for (const { verb, prefix: one } of steps) {
        if (verb === 'add') {
          destinations.add(one);
          all.push(one);
        } else if (verb === 'delete') {
          const known = all[Math.floor(all.length / 2)] ?? one;
          destinations.delete(known);
          const at = all.findIndex(
            (other) => other.address.length === known.address.length && prefixesEqual(other, known),
          );
          if (at >= 0) all.splice(at, 1);
        }
        expect(destinations.hasInside(one)).toBe(all.some((other) => prefixContains(one, other)));
      }
    }),
    { numRuns: 300 },
  );
});
