import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { parseSpiffeId } from '../identity/spiffe-id.ts';
import { parsePrefix } from '../net/prefix.ts';
import type { Accord } from '../posture/accord.ts';
import { LOCKDOWN, POSTURE_LEVELS, type PostureLevel } from '../posture/level.ts';
import { parseAccord } from '../posture/parse-accord.ts';
import type { Reason } from '../reasons.ts';
import { covers, intersectGrants } from './compare.ts';
import { classDenial, consoleCapabilities, type Decision, type DecisionInput, decide } from './decide.ts';
import {
  CAPABILITIES,
  type Capability,
  type Grant,
  MODES,
  type Mode,
  SESSION_TYPES,
  type SessionRequest,
  type SessionType,
  type Target,
  TIERS,
  type Tier,
} from './model.ts';

const BASE = parseAccord(read('default.yaml'));
const SITE = parseAccord(read('example-site.yaml'), { bases: new Map([['default', BASE]]) });
const GATEWAY = spiffeId('spiffe://beta.example/gateway/one');
const OPERATOR = spiffeId('spiffe://alpha.example/operator/kim');
const EVERYTHING: SessionRequest = { capabilities: CAPABILITIES, targets: [], advertise: [] };

describe('every tier × level × type × mode, against the rules written down a second time', () => {
  for (const type of SESSION_TYPES) {
    for (const mode of MODES) {
      test(`${type}, ${mode}`, () => {
        for (const tier of TIERS) {
          for (const level of POSTURE_LEVELS) {
            const outcome = decide({ ...question(), accord: BASE, tier, level, type, mode });
            const told = outcome.kind === 'grant' ? outcome.grant.capabilities.join(' ') : outcome.reason;
            expect({ tier, level, told }).toEqual({ tier, level, told: expected(tier, level, type, mode) });
          }
        }
      });
    }
  }
});

/** The rules once more, in another form than the accord's: letters by level 5 4 3 2 1, `-` where the mode is closed. */
const OVERLAY: Readonly<Record<Tier, string>> = {
  apprentice: 'OCP OCP OC O -',
  journeyman: 'OCSP OCSP OCS OC -',
  master: 'OCSPE OCSPE OCSPE OCS -',
  site_owner: 'OCSPEA OCSPEA OCSPEA OCSPEA -',
};
const UNDERLAY: Readonly<Record<Tier, string>> = {
  apprentice: 'x x x x x',
  journeyman: 'PE PE - - -',
  master: 'PE PE PE - -',
  site_owner: 'PE PE PE PE -',
};
const LETTER: Readonly<Record<string, Capability>> = {
  O: 'OBSERVE',
  C: 'CONNECT',
  S: 'SHELL',
  P: 'PROPOSE',
  E: 'EXECUTE',
  A: 'ADMIN',
};

function expected(tier: Tier, level: PostureLevel, type: SessionType, mode: Mode): string {
  if (level === 1) return 'POSTURE_ISOLATED';
  if (level === 2 && (type === 'operator' || type === 'workload')) return 'POSTURE_TYPE_NOT_ALLOWED';
  if (mode === 'underlay' && (type === 'mesh' || type === 'health-monitoring')) return 'MODE_NOT_AUTHORISED';
  const isLow = tier === 'apprentice' || tier === 'journeyman';
  if (type === 'management' && isLow) return 'TYPE_NOT_AUTHORISED';
  if ((type === 'incident-response' || type === 'mesh') && tier === 'apprentice') return 'TYPE_NOT_AUTHORISED';
  const letters = (mode === 'overlay' ? OVERLAY : UNDERLAY)[tier].split(' ')[5 - level] ?? '';
  if (letters === 'x') return 'MODE_NOT_AUTHORISED';
  if (letters === '-') return 'POSTURE_MODE_NOT_ALLOWED';
  return [...letters].map((letter) => LETTER[letter]).join(' ');
}

describe('each denial has its reason', () => {
  test.each<readonly [Reason, Partial<DecisionInput>]>([
    ['POSTURE_ISOLATED', { level: 1, tier: 'site_owner', type: 'management' }],
    ['POSTURE_TYPE_NOT_ALLOWED', { level: 2, type: 'workload' }],
    ['TIER_UNKNOWN', { tier: undefined }],
    ['TYPE_NOT_AUTHORISED', { type: 'management', tier: 'journeyman' }],
    ['TYPE_NOT_AUTHORISED', { accord: SITE, identity: OPERATOR, type: 'mesh', tier: 'site_owner' }],
    ['MODE_NOT_AUTHORISED', { type: 'mesh', mode: 'underlay', tier: 'site_owner' }],
    ['MODE_NOT_AUTHORISED', { mode: 'underlay', tier: 'apprentice' }],
    ['POSTURE_MODE_NOT_ALLOWED', { mode: 'underlay', tier: 'journeyman', level: 3 }],
    ['NO_CAPABILITY_LEFT', { tier: 'journeyman', request: { ...EVERYTHING, capabilities: ['ADMIN'] } }],
    ['NO_CAPABILITY_LEFT', { request: { ...EVERYTHING, capabilities: [] } }],
    ['TARGET_NOT_ALLOWED', { request: asking([target('10.1.0.1', 443)]) }],
    ['PREFIX_NOT_ALLOWED', { type: 'mesh', request: { ...EVERYTHING, advertise: [parsePrefix('10.2.0.0/16')] } }],
  ])('%s', (reason, change) => {
    expect(decide({ ...question(), ...change })).toMatchObject({ kind: 'deny', reason });
  });

  test('what is refused before anybody is known tells no more than the class', () => {
    expect(classDenial(BASE, 2, 'operator', 'overlay')?.reason).toBe('POSTURE_TYPE_NOT_ALLOWED');
    expect(classDenial(BASE, 1, 'management', 'overlay')?.reason).toBe('POSTURE_ISOLATED');
    expect(classDenial(BASE, 5, 'mesh', 'underlay')?.reason).toBe('MODE_NOT_AUTHORISED');
    expect(classDenial(BASE, 2, 'mesh', 'overlay')).toBeUndefined();
  });
});

describe('targets', () => {
  const ask = (targets: readonly Target[], change: Partial<DecisionInput> = {}): Decision =>
    decide({ ...question(), accord: SITE, request: asking(targets), ...change });

  test('inside one allowed rule are granted with their class and floor', () => {
    expect(granted(ask([target('10.1.0.0/25', 443)])).targets).toEqual([
      { ...target('10.1.0.0/25', 443), class: 'ordinary', floor: 3 },
    ]);
  });

  test('one bad target denies the whole session: a scope that shrinks silently surprises', () => {
    expect(ask([target('10.1.0.1', 443), target('10.1.0.1', 22)])).toMatchObject({ reason: 'TARGET_NOT_ALLOWED' });
  });

  test.each<readonly [string, Target]>([
    ['wider than its rule', target('10.1.0.0/23', 443)],
    ['for every port where only some are allowed', target('10.1.0.1', 0)],
    ['of another protocol', { ...target('10.1.0.1', 443), protocol: 17 }],
    ['one port beyond a range', target('10.1.0.1', 8011)],
    [
      'with host bits, which the kernel would match differently',
      { ...target('10.1.0.0/24', 443), prefix: { address: Uint8Array.of(10, 1, 0, 9), length: 24 } },
    ],
    [
      'with a prefix longer than an address',
      { ...target('10.1.0.0/24', 443), prefix: { address: Uint8Array.of(10, 1, 0, 9), length: 64 } },
    ],
    ['IPv4 in IPv6 clothes', target('::ffff:10.1.0.1', 443)],
    ['everything', target('0.0.0.0/0', 443)],
  ])('%s are not allowed', (_what, wrong) => {
    expect(ask([wrong])).toMatchObject({ kind: 'deny', reason: 'TARGET_NOT_ALLOWED' });
  });

  test('IPv4 in IPv6 clothes are not allowed even by a rule in the same clothes', () => {
    const [web] = SITE.targets;
    if (web === undefined) throw new Error('the example has targets');
    const accord: Accord = { ...SITE, targets: [{ ...web, prefixes: [parsePrefix('::ffff:10.1.0.0/120')] }] };
    expect(ask([target('::ffff:10.1.0.1', 443)], { accord })).toMatchObject({ reason: 'TARGET_NOT_ALLOWED' });
  });

  test('of a rule for other session types are not allowed: an operator calls itself health-monitoring in vain', () => {
    expect(ask([target('10.1.1.20', 22)], { tier: 'master' })).toMatchObject({ reason: 'TARGET_NOT_ALLOWED' });
    expect(ask([target('10.1.1.20', 22)], { tier: 'master', type: 'incident-response' }).kind).toBe('grant');
  });

  test('of a rule for other identities are not allowed', () => {
    const stranger = spiffeId('spiffe://alpha.example/workload/kim');
    expect(ask([target('10.1.1.10', 7844)]).kind).toBe('grant');
    expect(ask([target('10.1.1.10', 7844)], { identity: stranger })).toMatchObject({ reason: 'TARGET_NOT_ALLOWED' });
  });

  test('a session that calls itself management lifts no ordinary target', () => {
    const grant = granted(ask([target('10.1.0.1', 443)], { tier: 'site_owner', type: 'management', level: 2 }));
    expect(grant.targets.map((one) => one.floor)).toEqual([3]);
  });

  test('of the mesh at 2: management lives, ordinary is granted under floor 3 and comes back with the level', () => {
    const mesh = { identity: GATEWAY, tier: 'master', type: 'mesh', level: 2 } as const;
    const grant = granted(ask([target('10.1.1.10', 7844), target('10.1.0.1', 443), target('10.1.1.3', 9100)], mesh));
    expect(grant.targets.map((one) => [one.class, one.floor])).toEqual([
      ['management', 2],
      ['ordinary', 3],
      ['health', 2],
    ]);
  });

  test('have no floor below the level where their tier loses the capability that reaches them', () => {
    const health = { type: 'health-monitoring' } as const;
    const exporter = [target('10.1.1.3', 9100)];
    expect(granted(ask(exporter, { ...health, tier: 'apprentice' })).targets[0]?.floor).toBe(3);
    expect(granted(ask(exporter, { ...health, tier: 'journeyman' })).targets[0]?.floor).toBe(2);
  });

  test.each<readonly [Tier, number]>([
    ['journeyman', 4],
    ['master', 3],
    ['site_owner', 2],
  ])('of the underlay have for %s floor %i', (tier, floor) => {
    const underlay = { tier, mode: 'underlay', type: 'incident-response' } as const;
    const accord: Accord = { ...SITE, targets: SITE.targets.map((rule) => ({ ...rule, class: 'incident' })) };
    expect(granted(ask([target('10.1.0.1', 443)], { ...underlay, accord })).targets[0]?.floor).toBe(floor);
  });

  test('come only beside the capability that reaches them', () => {
    const request = { ...asking([target('10.1.0.1', 443)]), capabilities: ['OBSERVE'] } as const;
    expect(granted(ask([], { request })).targets).toEqual([]);
    const atTwo = { tier: 'apprentice', type: 'health-monitoring', level: 2 } as const;
    expect(granted(ask([target('10.1.1.3', 9100)], atTwo))).toMatchObject({ capabilities: ['OBSERVE'], targets: [] });
  });

  test('asked for twice are granted once', () => {
    expect(granted(ask([target('10.1.0.1', 443), target('10.1.0.1', 443)])).targets).toHaveLength(1);
  });
});

describe('advertised prefixes', () => {
  const advertise = (text: string, change: Partial<DecisionInput> = {}): Decision =>
    decide({
      ...question(),
      accord: SITE,
      identity: GATEWAY,
      tier: 'master',
      type: 'mesh',
      request: { ...EVERYTHING, advertise: [parsePrefix(text)] },
      ...change,
    });

  test('inside what the accord lets the identity have are reachable', () => {
    expect(granted(advertise('10.2.4.0/24')).reachable).toEqual([parsePrefix('10.2.4.0/24')]);
  });

  test.each(['0.0.0.0/0', '::/0', '10.0.0.0/8', '10.3.0.0/24', '127.0.0.1', '::ffff:10.2.0.1'])(
    '%s is refused',
    (text) => {
      expect(advertise(text)).toMatchObject({ kind: 'deny', reason: 'PREFIX_NOT_ALLOWED' });
    },
  );

  test('a default route is refused even where an accord made by hand would allow it', () => {
    const accord: Accord = { ...SITE, advertise: [{ identities: patterns(), prefixes: [parsePrefix('0.0.0.0/0')] }] };
    expect(advertise('0.0.0.0/0', { accord })).toMatchObject({ reason: 'PREFIX_NOT_ALLOWED' });
  });

  test('of another identity are refused: a compromised site takes no neighbour’s network', () => {
    const identity = spiffeId('spiffe://beta.example/workload/one');
    const accord = { ...SITE, sessionTypes: BASE.sessionTypes };
    expect(advertise('10.2.4.0/24', { accord, identity })).toMatchObject({ reason: 'PREFIX_NOT_ALLOWED' });
  });

  test('are for mesh sessions only', () => {
    expect(advertise('10.2.4.0/24', { type: 'operator' })).toMatchObject({ reason: 'PREFIX_NOT_ALLOWED' });
  });
});

describe('the console', () => {
  test('of a site_owner sees and brings the level back at 1; nobody else does anything there', () => {
    expect(consoleCapabilities(BASE, 'site_owner', LOCKDOWN)).toEqual(['OBSERVE', 'ADMIN']);
    expect(consoleCapabilities(BASE, 'master', LOCKDOWN)).toEqual([]);
    expect(consoleCapabilities(BASE, 'master', 2)).toEqual(['OBSERVE', 'CONNECT', 'SHELL']);
  });
});

describe('properties', () => {
  const input = fc.record({
    accord: fc.constantFrom(BASE, SITE),
    identity: fc.constantFrom(GATEWAY, OPERATOR),
    tier: fc.constantFrom(...TIERS),
    level: fc.constantFrom(...POSTURE_LEVELS),
    type: fc.constantFrom(...SESSION_TYPES),
    mode: fc.constantFrom(...MODES),
    request: fc.record({
      capabilities: fc.subarray([...CAPABILITIES]),
      targets: fc.subarray([
        target('10.1.0.0/24', 443),
        target('10.1.0.9', 8005),
        target('10.1.1.10', 7844),
        target('10.1.1.20', 22),
        target('10.1.1.0/24', 9100),
      ]),
      advertise: fc.subarray([parsePrefix('10.2.0.0/17'), parsePrefix('10.9.0.2')], { maxLength: 1 }),
    }),
  });

  test('a grant is never wider than what was asked', () => {
    fc.assert(
      fc.property(input, (asked) => {
        const decision = decide(asked);
        if (decision.kind === 'deny') return;
        const all: Grant = {
          mode: asked.mode,
          capabilities: asked.request.capabilities,
          targets: asked.request.targets.map((one) => ({ ...one, class: 'ordinary', floor: 1 })),
          reachable: asked.request.advertise,
          lifetimeMs: 0,
        };
        expect(covers(all, decision.grant)).toBe(true);
      }),
    );
  });

  test('a higher tier gets no less', () => {
    fc.assert(
      fc.property(input, fc.constantFrom(...TIERS), (asked, other) => {
        if (TIERS.indexOf(other) < TIERS.indexOf(asked.tier)) return;
        expectNoLess(decide({ ...asked, tier: other }), decide(asked));
      }),
    );
  });

  test('a more relaxed level gives no less', () => {
    fc.assert(
      fc.property(input, fc.constantFrom(...POSTURE_LEVELS), (asked, other) => {
        if (other < asked.level) return;
        expectNoLess(decide({ ...asked, level: other }), decide(asked));
      }),
    );
  });

  test('level 1 grants nothing, whatever an accord says', () => {
    const open: Accord = { ...SITE, levels: { ...SITE.levels, 1: SITE.levels[5] } };
    fc.assert(
      fc.property(input, fc.boolean(), (asked, hacked) => {
        const accord = hacked ? open : asked.accord;
        expect(decide({ ...asked, accord, level: 1 })).toMatchObject({ kind: 'deny', reason: 'POSTURE_ISOLATED' });
      }),
    );
  });

  test('what two sides leave together exceeds neither', () => {
    fc.assert(
      fc.property(input, input, (one, two) => {
        const [a, b] = [decide(one), decide({ ...two, mode: one.mode })];
        if (a.kind === 'deny' || b.kind === 'deny') return;
        const both = intersectGrants(a.grant, b.grant);
        if (both === undefined) return;
        expect(covers(a.grant, both) && covers(b.grant, both)).toBe(true);
        expect(both.lifetimeMs).toBeLessThanOrEqual(Math.min(a.grant.lifetimeMs, b.grant.lifetimeMs));
      }),
    );
  });
});

function expectNoLess(more: Decision, less: Decision): void {
  if (less.kind === 'deny') return;
  expect(more.kind).toBe('grant');
  expect(covers(granted(more), less.grant)).toBe(true);
}

function question(): DecisionInput {
  return {
    accord: BASE,
    identity: OPERATOR,
    tier: 'journeyman',
    level: 5,
    type: 'operator',
    mode: 'overlay',
    request: EVERYTHING,
  };
}

function granted(decision: Decision): Grant {
  if (decision.kind === 'deny') throw new Error(`${decision.reason}: ${decision.detail}`);
  return decision.grant;
}

function asking(targets: readonly Target[]): SessionRequest {
  return { ...EVERYTHING, targets };
}

function target(prefix: string, port: number): Target {
  return { prefix: parsePrefix(prefix), protocol: 6, port };
}

function patterns(): Accord['advertise'][number]['identities'] {
  return SITE.advertise[0]?.identities ?? [];
}

function spiffeId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(`no SPIFFE ID: ${text}`);
  return id;
}

function read(name: string): Uint8Array {
  return readFileSync(new URL(`../accords/${name}`, import.meta.url));
}
