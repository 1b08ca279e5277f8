import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { importJwk } from './bundles.ts';
import { parseJws } from './jwt-svid.ts';

interface Vectors {
  readonly testGroups: readonly {
    readonly comment: string;
    readonly public?: Record<string, unknown>;
    readonly private?: Record<string, unknown>;
    readonly tests: readonly { tcId: number; comment: string; jws: unknown; result: 'valid' | 'invalid' }[];
  }[];
}

const file = new URL('../../protocol/vectors/wycheproof/json_web_signature_test.json', import.meta.url);
const vectors: Vectors = JSON.parse(readFileSync(file, 'utf8'));
/** Kinds we refuse although the vectors call them valid: symmetric keys, and P-521. */
const NOT_OURS = new Set(['HS256', 'HS384', 'HS512', 'ES521', 'ES512']);
/** Called valid although key and token name different algorithms, which vectors 338 and 340 call invalid. */
const CONTRADICTED = new Set([346, 350]);

describe('Wycheproof’s JSON web signatures', () => {
  let judged = 0;
  for (const group of vectors.testGroups) {
    const jwk = group.public ?? group.private ?? {};
    for (const { tcId, comment, jws, result } of group.tests) {
      judged += 1;
      const expected = result === 'valid' && !NOT_OURS.has(String(jwk.alg)) && !CONTRADICTED.has(tcId);
      test(`${group.comment} ${tcId} ${comment}: ${expected ? 'accepted' : 'refused'}`, () => {
        expect(accepts(jwk, jws)).toBe(expected);
      });
    }
  }
  test('are all of them read', () => expect(judged).toBe(401));
});

function accepts(jwk: Record<string, unknown>, jws: unknown): boolean {
  const authority = importJwk(jwk);
  if (authority === undefined) return false;
  try {
    return parseJws(typeof jws === 'string' ? jws : JSON.stringify(jws)).isSignedBy(authority);
  } catch (error) {
    // Whatever is refused is refused as ours, never as a fault of the library beneath.
    expect(reasonOf(error)).toBe('SAT_INVALID');
    return false;
  }
}
