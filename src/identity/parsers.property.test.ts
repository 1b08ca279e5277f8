import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { reasonOf } from '../../protocol/errors.ts';
import { parseX509Bundle } from './bundles.ts';
import { parseJwtSvid } from './jwt-svid.ts';
import { verifySvid } from './x509-svid.ts';

const clock = new SteppedClock();
let domains: TemporaryDomains;
let domain: TrustDomain;

beforeAll(async () => {
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
});
afterAll(() => domains[Symbol.asyncDispose]());

/** A change of bytes: what is cut out at a place, and what is put there instead. */
const splice = fc.record({ at: fc.nat(), cut: fc.nat(8), put: fc.uint8Array({ maxLength: 8 }) });

test('a certificate changed anywhere is refused as ours, and never verifies', () => {
  const [leaf = new Uint8Array()] = domain.authority.issueSvid('spiffe://a.test/x', 3600_000).chain;
  const bundles = {
    x509: new Map([['a.test', parseX509Bundle('a.test', domain.authority.x509Bundle, clock.now())]]),
    jwt: new Map(),
  };
  fc.assert(
    fc.property(fc.array(splice, { minLength: 1, maxLength: 3 }), (splices) => {
      const changed = splices.reduce(spliced, leaf);
      fc.pre(Buffer.compare(changed, leaf) !== 0);
      expect(refusal(() => verifySvid([changed], bundles, clock.now()))).toMatch(/^(SVID_|NO_BUNDLE)/);
    }),
    { numRuns: 500 },
  );
});

test('a token changed anywhere is refused as ours, or is another token', () => {
  const token = Buffer.from(hostile.mintShaped(domain, clock, '/x', 'audience'));
  fc.assert(
    fc.property(fc.array(splice, { minLength: 1, maxLength: 3 }), (splices) => {
      const changed = Buffer.from(splices.reduce(spliced, token)).toString('latin1');
      fc.pre(changed !== token.toString());
      expect(refusal(() => parseJwtSvid(changed))).toMatch(/^(accepted|SAT_INVALID)$/);
    }),
    { numRuns: 500 },
  );
});

function spliced(bytes: Uint8Array, { at, cut, put }: { at: number; cut: number; put: Uint8Array }): Uint8Array {
  const place = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, place), put, bytes.subarray(place + cut)]);
}

function refusal(action: () => unknown): string {
  try {
    action();
    return 'accepted';
  } catch (error) {
    return reasonOf(error);
  }
}
