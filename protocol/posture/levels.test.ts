import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SESSION_TYPES, type SessionType, TARGET_CLASSES, type TargetClass, TIERS } from '../capability/model.ts';
import { floorFor, staticFloor, tierFloor } from './floor.ts';
import { freshSatRequired, proposalAccepted, remoteHandshakeAllowed, typeAllowed } from './handshake-rules.ts';
import { levelFromTrustedSource, POSTURE_LEVELS, type PostureLevel } from './level.ts';
import { negotiate } from './negotiation.ts';
import { parseAccord } from './parse-accord.ts';

const DEFAULT = parseAccord(read('default.yaml'));
const STRICTER = parseAccord(read('example-site.yaml'), { bases: new Map([['default', DEFAULT]]) });

describe('two levels become one', () => {
  test('the more restrictive governs, and the grant says whose it is', () => {
    for (const initiator of POSTURE_LEVELS) {
      for (const responder of POSTURE_LEVELS) {
        const { effective, governedBy } = negotiate({ initiator, responder });
        expect(effective).toBe(Math.min(initiator, responder));
        expect(governedBy).toBe(initiator < responder ? 'initiator' : initiator > responder ? 'responder' : 'both');
      }
    }
  });

  test('a number of a trusted source outside 1 to 5 counts as lockdown', () => {
    expect([0, 6, 2 ** 32 - 1, 3].map(levelFromTrustedSource)).toEqual([1, 1, 1, 3]);
  });
});

describe('what a level asks of handshakes (P3), with the default accord and without one alike', () => {
  test.each<readonly [PostureLevel, boolean, boolean, string]>([
    [5, true, false, 'management incident-response health-monitoring operator workload mesh'],
    [4, true, false, 'management incident-response health-monitoring operator workload mesh'],
    [3, true, true, 'management incident-response health-monitoring operator workload mesh'],
    [2, true, true, 'management incident-response health-monitoring mesh'],
    [1, false, true, ''],
  ])('%i: remote %s, fresh SAT %s, types %s', (level, remote, fresh, types) => {
    for (const accord of [undefined, DEFAULT]) {
      expect(remoteHandshakeAllowed(level, accord)).toBe(remote);
      expect(freshSatRequired(level, accord)).toBe(fresh);
      expect(SESSION_TYPES.filter((type) => typeAllowed(level, type, accord)).join(' ')).toBe(types);
    }
  });

  test('a site’s stricter accord asks for a fresh SAT earlier', () => {
    expect(freshSatRequired(4, STRICTER)).toBe(true);
    expect(freshSatRequired(5, STRICTER)).toBe(false);
  });

  test('no accord lets anything remote in at 1, a cached SAT at 3 or an operator at 2', () => {
    const five = DEFAULT.levels[5];
    const hacked = { ...DEFAULT, levels: { 5: five, 4: five, 3: five, 2: five, 1: five } };
    expect(remoteHandshakeAllowed(1, hacked)).toBe(false);
    expect(freshSatRequired(3, hacked)).toBe(true);
    expect(typeAllowed(2, 'operator', hacked)).toBe(false);
  });
});

test('proposals with their own token are queued from every tier down to 3, at 2 from the site_owner, at 1 never (P2)', () => {
  const accepting = POSTURE_LEVELS.map((level) => TIERS.filter((tier) => proposalAccepted(DEFAULT, level, tier)));
  expect(accepting).toEqual([TIERS, TIERS, TIERS, ['site_owner'], []]);
});

describe('floors', () => {
  test('are the higher of type and class', () => {
    const rows: Record<TargetClass, Record<SessionType, number>> = {
      ordinary: row(3, 3, 3, 3, 3, 3),
      management: row(2, 2, 2, 3, 3, 2),
      incident: row(2, 2, 2, 3, 3, 2),
      health: row(2, 2, 2, 3, 3, 2),
      monitoring: row(2, 2, 2, 3, 3, 2),
    };
    for (const targetClass of TARGET_CLASSES) {
      for (const type of SESSION_TYPES) {
        expect({ type, targetClass, floor: floorFor(type, targetClass) }).toEqual({
          type,
          targetClass,
          floor: rows[targetClass][type],
        });
      }
    }
  });

  test('only a static monitoring entry passes at 1', () => {
    expect(TARGET_CLASSES.map(staticFloor)).toEqual([3, 2, 2, 2, 1]);
  });

  test('of a tier end where it loses what reaches a target', () => {
    expect(TIERS.map((tier) => tierFloor(DEFAULT, 'overlay', tier))).toEqual([3, 2, 2, 2]);
    expect(TIERS.map((tier) => tierFloor(DEFAULT, 'underlay', tier))).toEqual([undefined, 4, 3, 2]);
  });
});

function row(...cells: readonly [number, number, number, number, number, number]): Record<SessionType, number> {
  const [management, incident, health, operator, workload, mesh] = cells;
  return { management, 'incident-response': incident, 'health-monitoring': health, operator, workload, mesh };
}

function read(name: string): Uint8Array {
  return readFileSync(new URL(`../accords/${name}`, import.meta.url));
}
