import { expect, test } from 'vitest';
import { parseSpiffeIdPattern, type SpiffeIdPattern } from '../identity/spiffe-id.ts';
import { isPatternWithin } from './within.ts';

test.each([
  ['spiffe://a/x', 'spiffe://a/x', true],
  ['spiffe://a/x', 'spiffe://b/x', false],
  ['spiffe://a/x', 'spiffe://a/*', true],
  ['spiffe://a/*', 'spiffe://a/x', false],
  ['spiffe://a/*', 'spiffe://a/*', true],
  ['spiffe://a/x/y', 'spiffe://a/*', false],
  ['spiffe://a/x/y', 'spiffe://a/**', true],
  ['spiffe://a/**', 'spiffe://a/*', false],
  ['spiffe://a/**', 'spiffe://a/*/**', false],
  ['spiffe://a/*/**', 'spiffe://a/**', true],
  ['spiffe://a/x/**', 'spiffe://a/x/**', true],
  ['spiffe://a/x', 'spiffe://a/x/**', false],
  ['spiffe://a/x/*', 'spiffe://a/x/**', true],
  ['spiffe://a/x/**', 'spiffe://a/x/*', false],
])('identities of %s lie within %s: %s', (inner, outer, within) => {
  expect(isPatternWithin(pattern(inner), pattern(outer))).toBe(within);
});

function pattern(text: string): SpiffeIdPattern {
  const parsed = parseSpiffeIdPattern(text);
  if (parsed === undefined) throw new Error(`no pattern: ${text}`);
  return parsed;
}
