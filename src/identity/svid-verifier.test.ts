import { afterEach, beforeEach, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { parseX509Bundle, type TrustBundles } from './bundles.ts';
import { SvidVerifier } from './svid-verifier.ts';

const HOUR = 3600_000;
let clock: SteppedClock;
let domains: TemporaryDomains;
let domain: TrustDomain;
let bundles: TrustBundles;
let verifier: SvidVerifier;

beforeEach(async () => {
  clock = new SteppedClock();
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
  bundles = bundlesNow();
  verifier = new SvidVerifier({ bundles: () => bundles, clock, capacity: 2 });
});
afterEach(() => domains[Symbol.asyncDispose]());

test('a chain seen before gives the very same verified SVID', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  expect(verifier.verify(chain)).toBe(verifier.verify(chain.map((der) => Uint8Array.from(der))));
});

test('a remembered chain is refused once it has expired', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  verifier.verify(chain);
  clock.advance(HOUR + 1);
  expect(() => verifier.verify(chain)).toThrow('SVID_EXPIRED');
  expect(verifier.size).toBe(0);
});

test('a remembered chain is refused when the clock is set back to before its validity', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  verifier.verify(chain);
  clock.advance(-60_000);
  expect(() => verifier.verify(chain)).toThrow('SVID_EXPIRED');
});

test('a remembered chain is refused once its authority left the bundle', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  verifier.verify(chain);
  domain.rotateAuthorities({ forget: true });
  bundles = bundlesNow();
  expect(() => verifier.verify(chain)).toThrow('SVID_UNTRUSTED');
});

test('a remembered chain is refused once its domain has no bundle any more', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  verifier.verify(chain);
  bundles = { x509: new Map(), jwt: new Map() };
  expect(() => verifier.verify(chain)).toThrow('NO_BUNDLE');
});

test('a bundle that was fetched again unchanged keeps what was verified', () => {
  const { chain } = domain.authority.issueSvid('spiffe://a.test/x', HOUR);
  const first = verifier.verify(chain);
  bundles = bundlesNow();
  expect(verifier.verify(chain)).toBe(first);
});

test('the memory is bounded and drops what was used longest ago', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => domain.authority.issueSvid(`spiffe://a.test/${name}`, HOUR).chain);
  if (a === undefined || b === undefined || c === undefined) throw new Error('unreachable');
  const kept = verifier.verify(a);
  const dropped = verifier.verify(b);
  expect(verifier.verify(a)).toBe(kept);
  verifier.verify(c);
  expect(verifier.size).toBe(2);
  expect(verifier.verify(a)).toBe(kept);
  expect(verifier.verify(b)).not.toBe(dropped);
});

test('a refused chain is not remembered', () => {
  expect(() => verifier.verify(hostile.impersonate(domain, clock, '/x').chain)).toThrow('SVID_UNTRUSTED');
  expect(verifier.size).toBe(0);
});

function bundlesNow(): TrustBundles {
  return {
    x509: new Map([['a.test', parseX509Bundle('a.test', domain.authority.x509Bundle, clock.now())]]),
    jwt: new Map(),
  };
}
