import { describe, expect, test } from 'vitest';
import { parsePrefix } from '../net/prefix.ts';
import { planRoutes, type RecordedRoute, readBack } from './reconcile.ts';
import { MAIN_TABLE, type RouteSpec, routeWords } from './route.ts';

const route = (destination: string, link = 'lan'): RouteSpec => ({
  destination: parsePrefix(destination),
  link,
  table: MAIN_TABLE,
});
const recorded = (spec: RouteSpec, changes: Partial<RecordedRoute> = {}): RecordedRoute => ({
  route: spec,
  stays: true,
  authorised: true,
  tunnelled: false,
  ...changes,
});
const ONE = route('10.5.0.0/24');
const words = (...routes: readonly RouteSpec[]): ReadonlySet<string> => new Set(routes.map(routeWords));

describe('a plan', () => {
  test('adds what stays, is authorised and was there; it changes nothing when all is there', () => {
    expect(planRoutes({ recorded: [recorded(ONE)], drifted: words(), live: [] }).add).toEqual([ONE]);
    expect(planRoutes({ recorded: [recorded(ONE)], drifted: words(), live: [ONE] })).toEqual({
      add: [],
      remove: [],
      differences: [],
    });
  });

  test('removes what the level takes away, and says nothing of it', () => {
    const plan = planRoutes({ recorded: [recorded(ONE, { stays: false })], drifted: words(), live: [ONE] });
    expect(plan).toEqual({ add: [], remove: [ONE], differences: [] });
  });

  test('a route whose owner lost it meanwhile does not come back, and goes where it still is', () => {
    const differences = [{ kind: 'not-authorised', route: ONE }];
    const lost = [recorded(ONE, { authorised: false })];
    expect(planRoutes({ recorded: lost, drifted: words(), live: [] })).toEqual({
      add: [],
      remove: [],
      differences,
    });
    expect(planRoutes({ recorded: lost, drifted: words(), live: [ONE] })).toEqual({
      add: [],
      remove: [ONE],
      differences,
    });
  });

  test('what somebody took away before the snapshot is told, not put back', () => {
    const plan = planRoutes({ recorded: [recorded(ONE)], drifted: words(ONE), live: [] });
    expect(plan).toEqual({ add: [], remove: [], differences: [{ kind: 'drifted', route: ONE }] });
  });

  test('another way in the place of ours is told and replaced, or removed where the level leaves none', () => {
    const other = route('10.5.0.0/24', 'wan');
    const differences = [{ kind: 'changed', route: other }];
    expect(planRoutes({ recorded: [recorded(ONE)], drifted: words(), live: [other] })).toEqual({
      add: [ONE],
      remove: [],
      differences,
    });
    const gone = [recorded(ONE, { stays: false })];
    expect(planRoutes({ recorded: gone, drifted: words(), live: [other] })).toEqual({
      add: [],
      remove: [other],
      differences,
    });
  });

  test('what a tunnel leads to is told and goes, also where somebody put another way into its place', () => {
    const differences = [{ kind: 'tunnelled', route: ONE }];
    const beside = [recorded(ONE, { tunnelled: true })];
    expect(planRoutes({ recorded: beside, drifted: words(), live: [ONE] })).toEqual({
      add: [],
      remove: [ONE],
      differences,
    });
    for (const drifted of [words(), words(ONE)]) {
      expect(planRoutes({ recorded: beside, drifted, live: [] })).toEqual({ add: [], remove: [], differences });
    }
    const other = route('10.5.0.0/24', 'wan');
    expect(planRoutes({ recorded: beside, drifted: words(), live: [other] })).toEqual({
      add: [],
      remove: [other],
      differences: [{ kind: 'changed', route: other }, ...differences],
    });
  });

  test('nothing is said of a tunnel where the level or the owner takes the route away anyhow', () => {
    const kinds = (changes: Partial<RecordedRoute>) =>
      planRoutes({
        recorded: [recorded(ONE, { tunnelled: true, ...changes })],
        drifted: words(),
        live: [],
      }).differences.map(({ kind }) => kind);
    expect(kinds({ stays: false })).toEqual([]);
    expect(kinds({ authorised: false })).toEqual(['not-authorised']);
  });

  test('what is not recorded is told and never touched', () => {
    expect(planRoutes({ recorded: [], drifted: words(), live: [ONE] })).toEqual({
      add: [],
      remove: [],
      differences: [{ kind: 'unrecorded', route: ONE }],
    });
  });
});

test('reading back tells what is not as it was planned', () => {
  const other = route('10.6.0.0/24');
  expect(readBack({ add: [ONE], remove: [other], differences: [] }, [other])).toEqual([
    { kind: 'not-added', route: ONE },
    { kind: 'not-removed', route: other },
  ]);
  expect(readBack({ add: [ONE], remove: [other], differences: [] }, [ONE])).toEqual([]);
});
