import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseSpiffeId } from '../identity/spiffe-id.ts';
import { parsePrefix } from '../net/prefix.ts';
import { parseAccord } from '../posture/parse-accord.ts';
import type { Tier } from './model.ts';
import { targetFloor, tierPolicyOf } from './scope.ts';
import { decideTier } from './tier.ts';

const SITE = parseAccord(read('example-site.yaml'), {
  bases: new Map([['default', parseAccord(read('default.yaml'))]]),
});

describe('a target that the other end hosts', () => {
  test('is ordinary unless our own accord names it', () => {
    expect(targetFloor(SITE, 'mesh', target('192.0.2.1', 7844))).toEqual({ class: 'ordinary', floor: 3 });
  });

  test('has the class that our accord gives it', () => {
    expect(targetFloor(SITE, 'mesh', target('10.1.1.10', 7844))).toEqual({ class: 'management', floor: 2 });
  });

  test('is lifted by no session type', () => {
    expect(targetFloor(SITE, 'management', target('10.1.0.1', 443))).toEqual({ class: 'ordinary', floor: 3 });
    expect(targetFloor(SITE, 'operator', target('10.1.1.10', 7844))).toEqual({ class: 'ordinary', floor: 3 });
  });
});

describe('tiers by the accord', () => {
  const policy = tierPolicyOf(SITE, 'alpha.example');
  const tierOf = (text: string, claimed?: Tier): Tier | undefined => {
    const id = parseSpiffeId(text);
    return id === undefined ? undefined : decideTier(id, claimed, policy);
  };

  test('are given by identity, never above what a token claims', () => {
    expect(tierOf('spiffe://alpha.example/operator/kim')).toBe('journeyman');
    expect(tierOf('spiffe://alpha.example/operator/kim', 'site_owner')).toBe('journeyman');
    expect(tierOf('spiffe://alpha.example/operator/kim', 'apprentice')).toBe('apprentice');
  });

  test('of a federated domain stay under its ceiling, and without one there are none', () => {
    expect(tierOf('spiffe://beta.example/gateway/one', 'site_owner')).toBe('master');
    expect(tierOf('spiffe://gamma.example/gateway/one', 'site_owner')).toBeUndefined();
  });
});

function target(prefix: string, port: number) {
  return { prefix: parsePrefix(prefix), protocol: 6, port };
}

function read(name: string): Uint8Array {
  return readFileSync(new URL(`../accords/${name}`, import.meta.url));
}
