import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TARGET_CLASSES, TIERS } from '../capability/model.ts';
import { formatPrefix, parsePrefix } from '../net/prefix.ts';
import { POSTURE_LEVELS, type PostureLevel, parseAccord } from '../posture/index.ts';
import { type ClassedRoute, overlayPrefixesAt, routesAt } from './by-level.ts';

const ACCORD = parseAccord(readFileSync(new URL('../accords/default.yaml', import.meta.url)));
const ALL_CLASSES = [...TARGET_CLASSES];

describe('P4: routes of the overlay', () => {
  const routes = TARGET_CLASSES.map((one) => ({ kind: 'overlay', class: one }) as const);
  test.each<[PostureLevel, readonly string[]]>([
    [5, ALL_CLASSES],
    [4, ALL_CLASSES],
    [3, ALL_CLASSES],
    [2, ['management', 'incident', 'health']],
    [1, []],
  ])('at %i', (level, left) => {
    expect(routesAt(level, routes, ACCORD).map((route) => route.class)).toEqual(left);
  });
});

describe('P4: routes of the underlay, by class and the tier of their owner', () => {
  const routes = TARGET_CLASSES.flatMap((one) =>
    TIERS.map((tier) => ({ kind: 'underlay', class: one, tier }) satisfies ClassedRoute),
  );
  const allOf = (...tiers: readonly string[]) =>
    TARGET_CLASSES.flatMap((one) =>
      TIERS.filter((tier) => one === 'monitoring' || tiers.includes(tier)).map((tier) => `${one} of ${tier}`),
    );
  test.each<[PostureLevel, readonly string[]]>([
    [5, allOf(...TIERS)],
    [4, allOf(...TIERS)],
    [3, allOf('master', 'site_owner')],
    [2, allOf('site_owner').filter((text) => !text.startsWith('ordinary'))],
    [1, TIERS.map((tier) => `monitoring of ${tier}`)],
  ])('at %i', (level, left) => {
    expect(routesAt(level, routes, ACCORD).map((route) => `${route.class} of ${route.tier}`)).toEqual(left);
  });
});

test('a lower level never leaves a route that a higher one takes away', () => {
  const routes = TARGET_CLASSES.flatMap((one): ClassedRoute[] => [
    { kind: 'overlay', class: one },
    ...TIERS.map((tier) => ({ kind: 'underlay', class: one, tier }) as const),
  ]);
  for (const [at, level] of POSTURE_LEVELS.entries()) {
    const above = POSTURE_LEVELS[at - 1];
    if (above === undefined) continue;
    expect(routesAt(above, routes, ACCORD)).toEqual(expect.arrayContaining([...routesAt(level, routes, ACCORD)]));
  }
});

describe('the prefixes behind a peer', () => {
  const prefixes = ['10.2.0.0/24', '10.99.0.2/32'].map(parsePrefix);
  const ordinary = { prefix: parsePrefix('10.2.0.10/32'), class: 'ordinary' } as const;
  const management = { prefix: parsePrefix('10.2.0.20/32'), class: 'management' } as const;
  const at = (level: PostureLevel, where: 'hosted' | 'visited', ...targets: (typeof ordinary | typeof management)[]) =>
    overlayPrefixesAt(level, { prefixes, hosted: [], visited: [], [where]: targets }, ACCORD).map(formatPrefix);

  test.each([5, 4, 3] as const)('are routed whole at %i', (level) => {
    expect(at(level, 'visited', ordinary)).toEqual(['10.2.0.0/24', '10.99.0.2/32']);
  });

  test('shrink at 2 to the management targets among them: the way to an ordinary host beside is gone', () => {
    expect(at(2, 'visited', ordinary, management, management)).toEqual(['10.2.0.20/32']);
    expect(at(2, 'visited', ordinary)).toEqual([]);
  });

  test('are at 2 the way of the answers, where we host a management target', () => {
    expect(at(2, 'hosted', management)).toEqual(['10.2.0.0/24', '10.99.0.2/32']);
    expect(at(2, 'hosted', ordinary)).toEqual([]);
  });

  test('of a session in both directions are what either needs', () => {
    const both = (hosted: typeof ordinary | typeof management) =>
      overlayPrefixesAt(2, { prefixes, hosted: [hosted], visited: [management] }, ACCORD).map(formatPrefix);
    expect(both(ordinary)).toEqual(['10.2.0.20/32']);
    expect(both(management)).toEqual(['10.2.0.0/24', '10.99.0.2/32']);
  });

  test('a target without a class is ordinary', () => {
    expect(overlayPrefixesAt(2, { prefixes, hosted: [], visited: [{ prefix: management.prefix }] }, ACCORD)).toEqual(
      [],
    );
  });

  test.each(['hosted', 'visited'] as const)('are routed nowhere at 1 (%s)', (where) => {
    expect(at(1, where, ordinary, management)).toEqual([]);
  });
});
