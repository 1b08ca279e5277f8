import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TIERS } from '../../protocol/capability/model.ts';
import {
  matchesSpiffeId,
  parseSpiffeId,
  parseSpiffeIdPattern,
  type SpiffeId,
  type SpiffeIdPattern,
} from '../../protocol/identity/spiffe-id.ts';
import { type Mapping, overlap, parseMapping } from './mapping.ts';

const ONE = '1'.repeat(64);
const TWO = '2'.repeat(64);
const NOTHING = { tier: undefined, scopes: undefined, networkPolicy: undefined };

describe('the rights of an identity', () => {
  test('are those of its entry; without one there are none', () => {
    const mapping = entries({ identity: 'spiffe://a.test/ann', tier: 'master', scopes: ['x'], networkPolicy: ONE });
    expect(mapping.rightsOf(id('/ann'))).toEqual({ tier: 'master', scopes: ['x'], networkPolicy: ONE });
    for (const path of ['/Ann', '/ann/x', '/an', '/x/ann']) expect(mapping.rightsOf(id(path))).toEqual(NOTHING);
  });

  test('where several entries match are the lowest tier and the scopes that all give', () => {
    const mapping = entries(
      { identity: 'spiffe://a.test/**', tier: 'site_owner' },
      { identity: 'spiffe://a.test/ops/*', tier: 'journeyman', scopes: ['r', 'w', 'x'] },
      { identity: 'spiffe://a.test/ops/ann', tier: 'master', scopes: ['x', 'r', 'y'] },
      { identity: 'spiffe://a.test/*/bob', scopes: [] },
    );
    expect(mapping.rightsOf(id('/ops/ann'))).toEqual({ ...NOTHING, tier: 'journeyman', scopes: ['x', 'r'] });
    expect(mapping.rightsOf(id('/ops/bob'))).toEqual({ ...NOTHING, tier: 'journeyman', scopes: [] });
    expect(mapping.rightsOf(id('/x'))).toEqual({ ...NOTHING, tier: 'site_owner' });
  });

  test('never grow by a further entry for who had a tier', () => {
    const pattern = fc.constantFrom('/**', '/a/**', '/*', '/a/*', '/a', '/a/b', '/*/b');
    const entry = fc.record({ path: pattern, tier: fc.constantFrom(...TIERS) });
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: ({ path }) => path, minLength: 2 }), (list) => {
        const all = list.map(({ path, tier }) => ({ identity: `spiffe://a.test${path}`, tier }));
        for (const path of ['/a', '/b', '/a/b', '/c/b', '/a/b/c']) {
          const before = entries(...all.slice(1)).rightsOf(id(path)).tier;
          const after = entries(...all).rightsOf(id(path)).tier;
          if (before !== undefined) expect(rank(after)).toBeLessThanOrEqual(rank(before));
        }
      }),
    );
  });
});

describe('a mapping is refused, and where', () => {
  test.each([
    ['another kind of document', 'apiVersion: shellstream/v1\nidentities: []', ':1:1: apiVersion'],
    ['no entries at all', 'apiVersion: shellstream.composer/v1', 'identities'],
    [
      'a pattern that is none',
      withEntry('identity: spiffe://a.test/**/x, tier: master'),
      ':2:16: identities.0.identity',
    ],
    [
      'an identity of another domain',
      withEntry('identity: spiffe://b.test/x, tier: master'),
      "of this server's trust domain",
    ],
    ['the domain itself', withEntry('identity: spiffe://a.test, tier: master'), 'names the trust domain'],
    ['a tier that is none', withEntry('identity: spiffe://a.test/x, tier: admin'), ':2:45: identities.0.tier'],
    ['a key that is none', withEntry('identity: spiffe://a.test/x, teir: master'), 'identities.0.teir: no such key'],
    ['an entry that gives nothing', withEntry('identity: spiffe://a.test/x'), 'gives nothing'],
    ['a scope with a space', withEntry('identity: spiffe://a.test/x, scopes: [a b]'), 'identities.0.scopes.0: a scope'],
    ['a scope twice', withEntry('identity: spiffe://a.test/x, scopes: [a, a]'), 'one of them twice'],
    [
      'scopes above 2048 characters',
      withEntry(`identity: spiffe://a.test/x, scopes: [${long(20, 110)}]`),
      'above 2048',
    ],
    ['65 scopes', withEntry(`identity: spiffe://a.test/x, scopes: [${long(65, 4)}]`), 'identities.0.scopes'],
    ['a hash in capitals', withEntry(`identity: spiffe://a.test/x, networkPolicy: ${'A'.repeat(64)}`), 'a SHA-256'],
    ['YAML that is none', 'apiVersion: [', ':1:'],
    ['a key twice', 'apiVersion: shellstream.composer/v1\napiVersion: shellstream.composer/v1', ':2:1'],
  ])('%s', (_, text, why) => {
    expect(() => parse(text)).toThrow(why);
    expect(() => parse(text)).toThrow('MALFORMED: tiers.yaml');
  });

  test('the same identity twice', () => {
    const twice = { identity: 'spiffe://a.test/x', tier: 'master' };
    expect(() => entries(twice, twice)).toThrow('identities.1.identity: there already is an entry for it');
  });

  test('two policies for one identity, which have no stricter one', () => {
    const clash = (one: string, other: string) => () =>
      entries(
        { identity: `spiffe://a.test${one}`, networkPolicy: ONE },
        { identity: `spiffe://a.test${other}`, networkPolicy: TWO },
      );
    expect(clash('/ns/*/web', '/ns/shop/*')).toThrow(
      'identities.0.networkPolicy: an identity could match spiffe://a.test/ns/shop/*',
    );
    expect(clash('/ns/shop/web', '/ns/**')).toThrow('networkPolicy');
    expect(clash('/ns/**', '/ns/shop/web')).toThrow('networkPolicy');
    expect(clash('/ns/shop/**', '/ns/*')).not.toThrow();
    expect(clash('/ns/shop', '/ns/blog')).not.toThrow();
  });

  test('patterns beyond the number that every call is held against', () => {
    const many = Array.from({ length: 257 }, (_, at) => ({ identity: `spiffe://a.test/${at}/*`, tier: 'master' }));
    expect(() => entries(...many)).toThrow('more than 256 patterns');
    expect(entries(...many.slice(1)).size).toBe(256);
  });

  test('more than 256 KiB', () => {
    expect(() => parse(`#${'x'.repeat(256 * 1024)}`)).toThrow('longer than');
  });
});

test('patterns overlap where some identity matches both', () => {
  const part = fc.constantFrom('a', 'b', '*');
  const pattern = fc
    .tuple(fc.array(part, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([parts, isOpen]) => `spiffe://a.test/${[...parts, ...(isOpen ? ['**'] : [])].join('/')}`);
  const paths = words(5).map((parts) => id(`/${parts.join('/')}`));
  fc.assert(
    fc.property(pattern, pattern, (left, right) => {
      const [one, other] = [parsedPattern(left), parsedPattern(right)];
      const both = paths.some((path) => matchesSpiffeId(one, path) && matchesSpiffeId(other, path));
      expect(overlap(one, other)).toBe(both);
    }),
  );
  expect(overlap(parsedPattern('spiffe://a.test/**'), parsedPattern('spiffe://b.test/**'))).toBe(false);
});

test('the example is a mapping', async () => {
  const bytes = await readFile(new URL('tiers.example.yaml', import.meta.url));
  const mapping = parseMapping('example', bytes, 'alpha.example');
  const of = (path: string) => mapping.rightsOf(parsedId(`spiffe://alpha.example${path}`));
  expect(of('/operators/eve')).toEqual({ ...NOTHING, tier: 'journeyman', scopes: ['routes:read', 'routes:propose'] });
  expect(of('/ns/shop/sa/web').networkPolicy).toMatch(/^2c26/);
});

/** All lists of one to `longest` of the letters a, b, c. */
function words(longest: number): string[][] {
  if (longest === 0) return [];
  const shorter = words(longest - 1);
  const grown = [[], ...shorter].flatMap((parts) => ['a', 'b', 'c'].map((part) => [...parts, part]));
  return [...new Map(grown.map((parts) => [parts.join('/'), parts])).values()];
}

function entries(...identities: readonly object[]): Mapping {
  return parse(JSON.stringify({ apiVersion: 'shellstream.composer/v1', identities }));
}

function parse(text: string): Mapping {
  return parseMapping('tiers.yaml', Buffer.from(text), 'a.test');
}

function withEntry(entry: string): string {
  return `apiVersion: shellstream.composer/v1\nidentities: [{ ${entry} }]`;
}

function long(count: number, length: number): string {
  return Array.from({ length: count }, (_, at) => `${'x'.repeat(length - 3)}${100 + at}`).join(', ');
}

function rank(tier: (typeof TIERS)[number] | undefined): number {
  return tier === undefined ? -1 : TIERS.indexOf(tier);
}

function id(path: string): SpiffeId {
  return parsedId(`spiffe://a.test${path}`);
}

function parsedId(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

function parsedPattern(text: string): SpiffeIdPattern {
  const parsed = parseSpiffeIdPattern(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
