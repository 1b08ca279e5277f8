import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TIERS } from '../capability/model.ts';
import { parsePrefix } from '../net/prefix.ts';
import { POSTURE_LEVELS, parseAccord } from '../posture/index.ts';
import {
  type ChangeInput,
  decideApproval,
  decideChange,
  decideOwner,
  decideProposal,
  isAuthorisedNow,
  type Verdict,
} from './gate.ts';
import { MAIN_TABLE, type RouteChange, type RouteSpec } from './route.ts';

const BASE = parseAccord(readFileSync(new URL('../accords/default.yaml', import.meta.url)));
const ACCORD = parseAccord(
  new TextEncoder().encode(`
apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: gate
targets:
  - { name: m, class: management, prefixes: [10.5.0.0/24], protocol: tcp, ports: [443], allow: [{ identities: any, minimumTier: master }] }
  - { name: s, class: monitoring, prefixes: [10.7.0.0/24], protocol: udp, ports: [161], allow: [{ identities: any, minimumTier: master }] }
`),
  { bases: new Map([[BASE.id, BASE]]) },
);

const spec = (destination: string, changes: Partial<RouteSpec> = {}): RouteSpec => ({
  destination: parsePrefix(destination),
  link: 'lan',
  table: MAIN_TABLE,
  ...changes,
});
const add = (route: RouteSpec, changes: Partial<RouteChange> = {}): RouteChange => ({
  action: 'add',
  route,
  class: 'ordinary',
  reason: 'drill',
  ...changes,
});
const ORDINARY = add(spec('10.9.0.0/24'));
const input = (changes: Partial<ChangeInput>): ChangeInput => {
  const tier = changes.tier ?? 'site_owner';
  return {
    accord: ACCORD,
    level: 5,
    tier,
    change: ORDINARY,
    owner: { subject: 'uid:0', tier },
    preApproved: [],
    standing: undefined,
    tunnelled: [],
    ...changes,
  };
};
const said = (verdict: Verdict): string => (verdict.kind === 'allow' ? 'allow' : verdict.reason);

describe('P2: who carries a change out, by level', () => {
  const never = 'MODE_NOT_AUTHORISED';
  const now = 'POSTURE_MODE_NOT_ALLOWED';
  test.each([
    [5, [never, 'allow', 'allow', 'allow']],
    [4, [never, 'allow', 'allow', 'allow']],
    [3, [never, now, 'allow', 'allow']],
    [2, [never, now, now, now]],
    [1, [never, now, now, now]],
  ] as const)('at %i', (level, verdicts) => {
    expect(TIERS.map((tier) => said(decideChange(input({ level, tier }))))).toEqual(verdicts);
  });

  test('at 2 a site_owner carries out what was approved beforehand, to the letter; at 1 not even that', () => {
    const change = add(spec('10.5.0.0/24'), { class: 'management' });
    const preApproved = [{ action: 'add', route: change.route }] as const;
    const at = (changes: Partial<ChangeInput>) =>
      said(decideChange(input({ level: 2, change, preApproved, ...changes })));
    expect(at({})).toBe('allow');
    expect(at({ tier: 'master' })).toBe(now);
    expect(at({ change: { ...change, route: spec('10.5.0.0/24', { link: 'wan' }) } })).toBe(now);
    expect(at({ change: { ...change, action: 'remove' } })).toBe(now);
    expect(at({ level: 1 })).toBe(now);
  });

  test('what the level would take away again is not added: an ordinary route, or a lower tier’s at 3', () => {
    const preApproved = [{ action: 'add', route: ORDINARY.route }] as const;
    expect(said(decideChange(input({ level: 2, preApproved })))).toBe(now);
    const owner = { subject: 'spiffe://a.test/w', tier: 'apprentice' } as const;
    expect(said(decideChange(input({ level: 3, owner })))).toBe(now);
    expect(said(decideChange(input({ level: 4, owner })))).toBe('allow');
  });
});

describe('a change is refused', () => {
  test.each(['0.0.0.0/0', '128.0.0.0/1', '127.0.0.0/8', '169.254.0.0/16', '::/0'])('towards %s', (destination) => {
    expect(said(decideChange(input({ change: add(spec(destination)) })))).toBe('PREFIX_NOT_ALLOWED');
  });

  test('in the table of local addresses: it would take the host’s own away', () => {
    expect(said(decideChange(input({ change: add(spec('10.9.0.0/24', { table: 255 })) })))).toBe('PREFIX_NOT_ALLOWED');
  });

  test.each(['10.2.0.0/16', '10.2.3.0/24', '10.0.0.0/8'])(
    'beside a tunnel’s prefix: packets for %s would leave in the clear',
    (destination) => {
      const tunnelled = [parsePrefix('10.2.0.0/16')];
      expect(said(decideChange(input({ change: add(spec(destination)), tunnelled })))).toBe('PREFIX_OVERLAP');
    },
  );

  test('under a class that the accord does not give its destination: it would outlast the levels', () => {
    const change = add(spec('10.9.0.0/24'), { class: 'management' });
    expect(said(decideChange(input({ change })))).toBe('TARGET_NOT_ALLOWED');
  });

  test('as monitoring, of anybody but a site_owner: such routes stand at level 1', () => {
    const change = add(spec('10.7.0.0/24'), { class: 'monitoring' });
    expect(said(decideChange(input({ change, tier: 'master' })))).toBe('CAPABILITY_NOT_GRANTED');
    expect(said(decideChange(input({ change })))).toBe('allow');
  });

  test('of a lower tier on a higher one’s route', () => {
    const standing = {
      route: ORDINARY.route,
      class: 'ordinary',
      owner: { subject: 'uid:0', tier: 'site_owner' },
    } as const;
    for (const action of ['add', 'remove'] as const) {
      const change = { ...ORDINARY, action };
      expect(said(decideChange(input({ tier: 'master', standing, change })))).toBe('CAPABILITY_NOT_GRANTED');
      expect(said(decideChange(input({ standing, change })))).toBe('allow');
    }
  });
});

describe('a proposal', () => {
  test.each([
    [5, 4],
    [4, 4],
    [3, 4],
    [2, 1],
    [1, 0],
  ] as const)('at %i is queued from the %i highest tiers', (level, count) => {
    const tiers = TIERS.filter((tier) => decideProposal(ACCORD, level, tier).kind === 'allow');
    expect(tiers).toEqual(count === 0 ? [] : TIERS.slice(-count));
  });

  test('is decided by masters and site_owners', () => {
    expect(TIERS.filter((tier) => decideApproval(tier).kind === 'allow')).toEqual(['master', 'site_owner']);
  });
});

test('a route is authorised as long as its owner has the tier and its destination the class', () => {
  const owner = { subject: 'spiffe://a.test/w', tier: 'master' } as const;
  const route = { route: spec('10.5.0.0/24'), class: 'management', owner } as const;
  expect(isAuthorisedNow(ACCORD, route, 'master')).toBe(true);
  expect(isAuthorisedNow(ACCORD, route, 'site_owner')).toBe(true);
  expect(isAuthorisedNow(ACCORD, route, 'journeyman')).toBe(false);
  expect(isAuthorisedNow(ACCORD, route, undefined)).toBe(false);
  expect(isAuthorisedNow(BASE, route, 'master')).toBe(false);
});

test('at every level at most what the one above allows', () => {
  for (const tier of TIERS) {
    const allowed = POSTURE_LEVELS.map((level) => decideChange(input({ level, tier })).kind === 'allow');
    expect([...allowed].sort((one, other) => Number(other) - Number(one))).toEqual(allowed);
  }
});

test('an owner has what it was given as long as its tier is no lower', () => {
  const owner = { subject: 'spiffe://a.test/w', tier: 'master' } as const;
  expect(said(decideOwner(owner, 'master'))).toBe('allow');
  expect(said(decideOwner(owner, 'site_owner'))).toBe('allow');
  expect(said(decideOwner(owner, 'journeyman'))).toBe('TIER_UNKNOWN');
  expect(said(decideOwner(owner, undefined))).toBe('TIER_UNKNOWN');
});
