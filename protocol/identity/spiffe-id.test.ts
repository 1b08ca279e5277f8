import { describe, expect, test } from 'vitest';
import {
  matchesSpiffeId,
  parseSpiffeId,
  parseSpiffeIdPattern,
  pathOf,
  trustDomainId,
  trustDomainOf,
} from './spiffe-id.ts';

describe('a SPIFFE ID', () => {
  test.each(['spiffe://a', 'spiffe://a.example/x', 'spiffe://a-b_c.9/ns/default/sa/web', 'spiffe://a/X.y-Z_0/...'])(
    '%s is one',
    (text) => expect(parseSpiffeId(text)).toBe(text),
  );

  test.each([
    ['empty text', ''],
    ['no trust domain', 'spiffe://'],
    ['no trust domain before a path', 'spiffe:///x'],
    ['another scheme', 'https://a/x'],
    ['a scheme in capitals', 'SPIFFE://a/x'],
    ['a trust domain in capitals', 'spiffe://A/x'],
    ['a port', 'spiffe://a:80/x'],
    ['user information', 'spiffe://u@a/x'],
    ['a trailing slash', 'spiffe://a/x/'],
    ['a bare slash', 'spiffe://a/'],
    ['an empty segment', 'spiffe://a//x'],
    ['a dot segment', 'spiffe://a/./x'],
    ['a parent segment', 'spiffe://a/x/..'],
    ['percent encoding', 'spiffe://a/%61'],
    ['a query', 'spiffe://a/x?y'],
    ['a fragment, as bound audiences have', 'spiffe://a/x#y'],
    ['a NUL', 'spiffe://a/x\0'],
    ['a newline at the end', 'spiffe://a/x\n'],
    ['a letter outside ASCII', 'spiffe://a/é'],
    ['a wildcard', 'spiffe://a/*'],
    ['2049 characters', `spiffe://a/${'x'.repeat(2038)}`],
    ['a trust domain of 256', `spiffe://${'a'.repeat(256)}/x`],
  ])('is not %s', (_why, text) => expect(parseSpiffeId(text)).toBeUndefined());

  test('comes apart into trust domain and path', () => {
    const id = parseSpiffeId('spiffe://site.example/ns/gateway');
    if (id === undefined) throw new Error('unreachable');
    expect([trustDomainOf(id), pathOf(id)]).toEqual(['site.example', '/ns/gateway']);
    expect(trustDomainId('site.example')).toBe('spiffe://site.example');
  });
});

describe('a pattern', () => {
  test.each([
    ['spiffe://a/x', 'spiffe://a/x', true],
    ['spiffe://a/x', 'spiffe://a/x/y', false],
    ['spiffe://a/*', 'spiffe://a/x', true],
    ['spiffe://a/*', 'spiffe://a/x/y', false],
    ['spiffe://a/*', 'spiffe://a', false],
    ['spiffe://a/ops/*/shell', 'spiffe://a/ops/kim/shell', true],
    ['spiffe://a/ops/*/shell', 'spiffe://a/ops/kim/web', false],
    ['spiffe://a/**', 'spiffe://a/x/y/z', true],
    ['spiffe://a/**', 'spiffe://a', false],
    ['spiffe://a/x/**', 'spiffe://a/x', false],
    ['spiffe://a/x/**', 'spiffe://a/xy/z', false],
    ['spiffe://a/**', 'spiffe://b/x', false],
    ['spiffe://a/**', 'spiffe://a.evil/x', false],
    ['spiffe://a', 'spiffe://a', true],
  ])('%s against %s: %s', (pattern, id, expected) => {
    const compiled = parseSpiffeIdPattern(pattern);
    const identity = parseSpiffeId(id);
    if (compiled === undefined || identity === undefined) throw new Error('the table is wrong');
    expect(matchesSpiffeId(compiled, identity)).toBe(expected);
  });

  test.each(['spiffe://*/x', 'spiffe://a/**/x', 'spiffe://a/x*', 'spiffe://a/', 'a/x', 'spiffe://a/***'])(
    '%s is none',
    (text) => expect(parseSpiffeIdPattern(text)).toBeUndefined(),
  );
});
