import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { MODES, TIERS } from '../capability/model.ts';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';
import type { LevelRules } from './level-rules.ts';
import { parseAccord } from './parse-accord.ts';

const accord = parseAccord(readFileSync(new URL('../accords/default.yaml', import.meta.url)));

/** A row of the requirements' tables: the cells at 5, 4, 3, 2, 1. */
type Cells<T> = readonly [T, T, T, T, T];
type Rows<Area extends keyof LevelRules> = { readonly [Name in keyof LevelRules[Area]]: Cells<LevelRules[Area][Name]> };

const ALL_TYPES = ['management', 'incident-response', 'health-monitoring', 'operator', 'workload', 'mesh'] as const;
const AT_TWO = ['management', 'incident-response', 'health-monitoring', 'mesh'] as const;
const ALL_CLASSES = ['ordinary', 'management', 'incident', 'health', 'monitoring'] as const;

const P1: Rows<'overlay'> = {
  tunnels: ['all', 'all', 'all', 'management', 'none'],
  anchors: ['connected', 'connected', 'connected', 'connected', 'disconnected'],
  sessions: ['keep', 'keep', 'drain-wider', 'end-non-critical', 'end-remote'],
  isolation: ['none', 'none', 'none', 'none', 'isolated'],
  keepaliveSeconds: [25, 25, 25, 25, 25],
  healthCheckSeconds: [30, 10, 10, 10, 10],
};

const P2: Rows<'underlay'> = {
  execute: ['journeyman', 'journeyman', 'master', 'site_owner', 'nobody'],
  proposals: ['apprentice', 'apprentice', 'apprentice', 'site_owner', 'nobody'],
  changes: ['all', 'all', 'all', 'pre-approved-emergency', 'none'],
  compiler: ['open', 'open', 'open', 'frozen', 'frozen'],
  vlans: ['all', 'all', 'all', 'all', 'monitoring'],
  driftCheckSeconds: [300, 60, 60, 60, 60],
};

const P3: Rows<'handshake'> = {
  remote: ['open', 'open', 'open', 'open', 'refused'],
  sat: ['cached', 'cached', 'fresh', 'fresh', 'fresh'],
  types: [ALL_TYPES, ALL_TYPES, ALL_TYPES, AT_TWO, []],
  logEverySession: [false, true, true, true, true],
};

const P4: Rows<'routes'> = {
  overlay: [ALL_CLASSES, ALL_CLASSES, ALL_CLASSES, ['management', 'incident', 'health'], []],
  underlay: [ALL_CLASSES, ALL_CLASSES, ALL_CLASSES, ['management', 'incident', 'health', 'monitoring'], ['monitoring']],
  underlayWorkloads: ['apprentice', 'apprentice', 'master', 'site_owner', 'nobody'],
};

const P5: Rows<'notarisation'> = {
  transitPercent: [10, 50, 100, 100, 100],
  mutationPercent: [100, 100, 100, 100, 100],
  anchoring: ['batched', 'batched', 'batched', 'at-once', 'per-record'],
  payload: ['none', 'none', 'none', 'none', 'full-hash'],
  frameHeaders: [false, false, false, false, true],
};

const P6: Rows<'dataPlane'> = {
  rules: ['standard', 'deep-classification', 'inter-zone-deprioritised', 'critical-only', 'allowlist-only'],
};

describe('the default accord says what the requirements’ tables say', () => {
  const tables: Readonly<Record<keyof LevelRules, object>> = {
    overlay: P1,
    underlay: P2,
    handshake: P3,
    routes: P4,
    notarisation: P5,
    dataPlane: P6,
  };
  test.each(Object.entries(tables))('%s, cell by cell', (area, rows) => {
    for (const [column, level] of POSTURE_LEVELS.entries()) {
      const expected = Object.fromEntries(Object.entries(rows).map(([name, cells]) => [name, cells[column]]));
      expect({ level, ...areaAt(area, level) }).toEqual({ level, ...expected });
    }
  });

  test('and no area stands there that no table has', () => {
    for (const level of POSTURE_LEVELS) expect(Object.keys(accord.levels[level])).toEqual(Object.keys(tables));
  });
});

describe('the default accord gives what DESIGN §5 gives to each tier', () => {
  const [O, C, S, P, E, A] = ['OBSERVE', 'CONNECT', 'SHELL', 'PROPOSE', 'EXECUTE', 'ADMIN'];
  const OVERLAY = {
    apprentice: [[O, C, P], [O, C, P], [O, C], [O], []],
    journeyman: [[O, C, S, P], [O, C, S, P], [O, C, S], [O, C], []],
    master: [[O, C, S, P, E], [O, C, S, P, E], [O, C, S, P, E], [O, C, S], []],
    site_owner: [[O, C, S, P, E, A], [O, C, S, P, E, A], [O, C, S, P, E, A], [O, C, S, P, E, A], []],
  };
  const UNDERLAY = {
    apprentice: [[], [], [], [], []],
    journeyman: [[P, E], [P, E], [], [], []],
    master: [[P, E], [P, E], [P, E], [], []],
    site_owner: [[P, E], [P, E], [P, E], [P, E], []],
  };
  const expected = { overlay: OVERLAY, underlay: UNDERLAY };

  test.each(MODES.flatMap((mode) => TIERS.map((tier) => ({ mode, tier }))))('$mode for $tier', ({ mode, tier }) => {
    expect(POSTURE_LEVELS.map((level) => accord.capabilities[mode][tier][level])).toEqual(expected[mode][tier]);
  });
});

test('the default accord knows no site: it leaves the site sections open and empty', () => {
  expect(accord).toMatchObject({
    siteSections: 'open',
    timers: [],
    targets: [],
    advertise: [],
    tiers: { assigned: [], ceilings: [] },
  });
});

test('a drain leaves room in the 5 s of a transition', () => {
  expect(accord.drainMs).toBeLessThanOrEqual(4000);
});

test('every session attests again at least hourly', () => {
  for (const rule of Object.values(accord.sessionTypes)) expect(rule.lifetimeMs).toBeLessThanOrEqual(3_600_000);
});

function areaAt(area: string, level: PostureLevel): object {
  return Object.entries(accord.levels[level]).find(([name]) => name === area)?.[1] ?? {};
}
