import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Prefix } from '../../protocol/capability/model.ts';
import { canonicalPrefix, hostPrefix, parsePrefix, prefixContainsAddress } from '../../protocol/net/prefix.ts';
import { AllowedIps } from './allowed-ips.ts';

/** Few bits differ, so that prefixes meet often. */
const prefixes: fc.Arbitrary<Prefix> = fc
  .tuple(fc.constantFrom(4, 16), fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 16 }))
  .map(([size, bits, length]) => {
    const address = new Uint8Array(size);
    address[0] = bits & 0xf0;
    address[1] = (bits & 0x0f) << 4;
    return canonicalPrefix({ address, length });
  });

const steps = fc.array(
  fc.record({
    owner: fc.constantFrom('a', 'b', 'c'),
    claims: fc.array(prefixes, { maxLength: 3 }),
    release: fc.boolean(),
  }),
  { maxLength: 30 },
);

test('no two owners ever share an address, and a refused claim takes nothing', () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const table = new AllowedIps();
      const model = new Map<string, Prefix[]>();
      for (const { owner, claims, release } of sequence) {
        if (release) {
          table.release(owner);
          model.delete(owner);
          continue;
        }
        const others = [...model].filter(([name]) => name !== owner).flatMap(([, held]) => held);
        const taken = claims.find((claim) => others.some((held) => overlap(held, claim)));
        expect(table.claim(owner, claims)).toEqual(taken);
        if (taken === undefined) model.set(owner, [...(model.get(owner) ?? []), ...claims]);
        for (const [name, held] of model) {
          for (const prefix of held) expect(table.owner(prefix.address)).toBe(name);
        }
      }
    }),
  );
});

test('an address outside every claim is nobody’s', () => {
  const table = new AllowedIps();
  table.claim('a', [parsePrefix('10.1.0.0/16')]);
  expect(table.owner(parsePrefix('10.2.0.1').address)).toBeUndefined();
  table.release('a');
  expect(table.owner(parsePrefix('10.1.0.1').address)).toBeUndefined();
  expect(table.conflict('b', hostPrefix(parsePrefix('10.1.0.1').address))).toBeUndefined();
});

function overlap(one: Prefix, other: Prefix): boolean {
  return prefixContainsAddress(one, other.address) || prefixContainsAddress(other, one.address);
}
