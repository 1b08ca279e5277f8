import { describe, expect, test } from 'vitest';
import { parsePrefix } from '../net/prefix.ts';
import { covers, intersectGrants, stillCovers } from './compare.ts';
import type { Grant, GrantedTarget } from './model.ts';

describe('a grant covers another', () => {
  test('when it is the same', () => {
    expect(covers(grant(), grant())).toBe(true);
  });

  test.each<readonly [string, Partial<Grant>]>([
    ['with a capability more', { capabilities: ['OBSERVE', 'CONNECT', 'SHELL'] }],
    ['with a wider target', { targets: [target('10.0.0.0/7', 443, 3)] }],
    ['with every port of a target', { targets: [target('10.0.0.0/8', 0, 3)] }],
    ['with a lower floor', { targets: [target('10.0.0.0/8', 443, 2)] }],
    ['with another target', { targets: [target('11.0.0.1', 443, 3)] }],
    ['with a wider prefix behind it', { reachable: [parsePrefix('10.2.0.0/15')] }],
    ['in another mode', { mode: 'underlay' }],
  ])('not one %s', (_what, change) => {
    expect(covers(grant(), grant(change))).toBe(false);
    expect(stillCovers(grant(change), grant())).toBe(false);
  });

  test('when that one has less of everything', () => {
    const less = grant({
      capabilities: ['OBSERVE'],
      targets: [target('10.1.0.0/16', 443, 4)],
      reachable: [parsePrefix('10.2.3.0/24')],
    });
    expect(covers(grant(), less)).toBe(true);
    expect(covers(grant({ targets: [target('10.0.0.0/8', 0, 3)] }), less)).toBe(true);
  });
});

describe('what two grants leave together', () => {
  test('is the narrower of each part, under the higher floor and for the shorter time', () => {
    const other = grant({
      capabilities: ['CONNECT', 'SHELL'],
      targets: [{ ...target('10.1.0.0/16', 0, 2), class: 'management' }, target('11.0.0.0/8', 443, 3)],
      reachable: [parsePrefix('10.2.3.0/24'), parsePrefix('10.4.0.0/16')],
      lifetimeMs: 500,
    });
    const both: Grant = {
      mode: 'overlay',
      capabilities: ['CONNECT'],
      targets: [target('10.1.0.0/16', 443, 3)],
      reachable: [parsePrefix('10.2.3.0/24')],
      lifetimeMs: 500,
    };
    expect(intersectGrants(grant(), other)).toEqual(both);
    expect(intersectGrants(other, grant())).toEqual(both);
  });

  test('is nothing where no capability or mode is common', () => {
    expect(intersectGrants(grant(), grant({ capabilities: ['SHELL'] }))).toBeUndefined();
    expect(intersectGrants(grant(), grant({ mode: 'underlay' }))).toBeUndefined();
  });
});

function grant(change: Partial<Grant> = {}): Grant {
  return {
    mode: 'overlay',
    capabilities: ['OBSERVE', 'CONNECT'],
    targets: [target('10.0.0.0/8', 443, 3)],
    reachable: [parsePrefix('10.2.0.0/16')],
    lifetimeMs: 1000,
    ...change,
  };
}

function target(prefix: string, port: number, floor: number): GrantedTarget {
  return { prefix: parsePrefix(prefix), protocol: 6, port, class: 'ordinary', floor };
}
