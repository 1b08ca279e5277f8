import { expect, test } from 'vitest';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type ProvenToken, SatCache } from './sat-cache.ts';

test('forgetting a token id drops every spelling of that token and no other', () => {
  const cache = filled(
    ['one', proven('id-1', '/a')],
    ['one again', proven('id-1', '/a')],
    ['two', proven('id-2', '/a')],
  );
  cache.forget({ tokenId: 'id-1' });
  expect(['one', 'one again', 'two'].map((token) => cache.get(token, 'digest', 0) !== undefined)).toEqual([
    false,
    false,
    true,
  ]);
});

test('forgetting a subject drops all of its tokens and no other’s', () => {
  const cache = filled(['one', proven('id-1', '/a')], ['two', proven('id-2', '/a')], ['three', proven('id-3', '/b')]);
  cache.forget({ subject: id('/a') });
  expect(['one', 'two', 'three'].map((token) => cache.get(token, 'digest', 0) !== undefined)).toEqual([
    false,
    false,
    true,
  ]);
});

test('an entry serves its own bundle only and ends at its expiry', () => {
  const cache = filled(['one', proven('id-1', '/a')]);
  expect(cache.get('one', 'digest', 999)).toBeDefined();
  expect(cache.get('one', 'digest', 1000)).toBeUndefined();
  expect(filled(['one', proven('id-1', '/a')]).get('one', 'another', 0)).toBeUndefined();
});

test('the cache is bounded and drops what was used longest ago', () => {
  const cache = filled(['one', proven('id-1', '/a')], ['two', proven('id-2', '/a')], ['three', proven('id-3', '/a')]);
  cache.get('one', 'digest', 0);
  cache.add('four', proven('id-4', '/a'));
  expect(['one', 'two', 'three', 'four'].map((token) => cache.get(token, 'digest', 0) !== undefined)).toEqual([
    true,
    false,
    true,
    true,
  ]);
});

function filled(...entries: readonly (readonly [string, ProvenToken])[]): SatCache {
  const cache = new SatCache(3);
  for (const [token, entry] of entries) cache.add(token, entry);
  return cache;
}

function proven(tokenId: string, path: string): ProvenToken {
  const claims = { subject: id(path), audience: 'x', expiresAt: 1000, issuedAt: 0, notBefore: undefined, all: {} };
  return { tokenId, claims, bundleDigest: 'digest' };
}

function id(path: string): ProvenToken['claims']['subject'] {
  const parsed = parseSpiffeId(`spiffe://a.test${path}`);
  if (parsed === undefined) throw new Error(path);
  return parsed;
}
