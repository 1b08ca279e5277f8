import { describe, expect, test } from 'vitest';
import { parseSpiffeId, parseSpiffeIdPattern, type SpiffeId } from '../identity/spiffe-id.ts';
import type { Tier } from './model.ts';
import { decideTier, isTier, type TierPolicy, type TierRule } from './tier.ts';

const local = id('spiffe://home.example/ops/kim');
const foreign = id('spiffe://away.example/ops/lee');

describe('the tier of an identity', () => {
  test('is what the token claims when configuration is silent', () => {
    expect(decideTier(local, 'master', policy())).toBe('master');
  });

  test('is what configuration gives when the token is silent', () => {
    expect(
      decideTier(local, undefined, policy({ patterns: [rule('spiffe://home.example/ops/*', 'journeyman')] })),
    ).toBe('journeyman');
  });

  test.each<[Tier, Tier, Tier]>([
    ['site_owner', 'apprentice', 'apprentice'],
    ['apprentice', 'site_owner', 'apprentice'],
    ['master', 'master', 'master'],
  ])('claimed %s and configured %s is %s: the lower', (claimed, configured, expected) => {
    expect(decideTier(local, claimed, policy({ patterns: [rule('spiffe://home.example/**', configured)] }))).toBe(
      expected,
    );
  });

  test('is none when nothing gives one, even under a ceiling', () => {
    expect(decideTier(local, undefined, policy())).toBeUndefined();
    expect(
      decideTier(local, undefined, policy({ ceilings: [rule('spiffe://home.example/**', 'master')] })),
    ).toBeUndefined();
  });

  test('of a federated identity is none without a ceiling, whatever its issuer claims', () => {
    expect(decideTier(foreign, 'site_owner', policy())).toBeUndefined();
    const configured = policy({ patterns: [rule('spiffe://away.example/**', 'apprentice')] });
    expect(decideTier(foreign, 'site_owner', configured)).toBeUndefined();
  });

  test('of a federated identity is capped by its ceiling', () => {
    const capped = policy({ ceilings: [rule('spiffe://away.example/**', 'journeyman')] });
    expect(decideTier(foreign, 'site_owner', capped)).toBe('journeyman');
    expect(decideTier(foreign, 'apprentice', capped)).toBe('apprentice');
  });

  test('is capped by the lowest of several ceilings, in any order', () => {
    const wide = rule('spiffe://away.example/**', 'master');
    const narrow = rule('spiffe://away.example/ops/*', 'apprentice');
    expect(decideTier(foreign, 'site_owner', policy({ ceilings: [wide, narrow] }))).toBe('apprentice');
    expect(decideTier(foreign, 'site_owner', policy({ ceilings: [narrow, wide] }))).toBe('apprentice');
  });

  test('a local ceiling caps local identities too', () => {
    expect(decideTier(local, 'site_owner', policy({ ceilings: [rule('spiffe://home.example/ops/*', 'master')] }))).toBe(
      'master',
    );
  });
});

test('only the four words are tiers', () => {
  expect(['apprentice', 'journeyman', 'master', 'site_owner'].every(isTier)).toBe(true);
  expect([undefined, null, 3, 'root', 'Master', ['master']].some(isTier)).toBe(false);
});

function policy(over: Partial<TierPolicy> = {}): TierPolicy {
  return { trustDomain: 'home.example', patterns: [], ceilings: [], ...over };
}

function rule(text: string, tier: Tier): TierRule {
  const pattern = parseSpiffeIdPattern(text);
  if (pattern === undefined) throw new Error(`no pattern: ${text}`);
  return { pattern, tier };
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(`no SPIFFE ID: ${text}`);
  return parsed;
}
