import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Capability, SessionType, Tier } from '../capability/model.ts';
import { judgeSession, type LiveSession, type SessionVerdict } from './judge-session.ts';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';
import { parseAccord } from './parse-accord.ts';

const accord = parseAccord(readFileSync(new URL('../accords/default.yaml', import.meta.url)));
const DRAIN: SessionVerdict = { kind: 'drain', deadlineMs: 4000, reason: 'POSTURE_DRAIN' };

describe('going to 3', () => {
  test('drains a lower tier’s session that holds PROPOSE, with a deadline', () => {
    expect(judge('operator', 'apprentice', ['OBSERVE', 'CONNECT', 'PROPOSE'], 5, 3)).toEqual(DRAIN);
  });

  test('keeps a session that holds no more than 3 gives, and has it attest again', () => {
    expect(judge('operator', 'apprentice', ['OBSERVE', 'CONNECT'], 5, 3)).toEqual({ kind: 'keep', reattest: true });
    expect(judge('operator', 'master', ['PROPOSE', 'EXECUTE'], 4, 3)).toEqual({ kind: 'keep', reattest: true });
  });

  test('drains the underlay session of a tier below master', () => {
    expect(judgeSession(accord, session('operator', 'journeyman', ['EXECUTE'], 'underlay'), 4, 3)).toEqual(DRAIN);
    expect(judgeSession(accord, session('operator', 'master', ['EXECUTE'], 'underlay'), 4, 3).kind).toBe('keep');
  });

  test('keeps the mesh, and narrows it without cutting its tunnel', () => {
    expect(judge('mesh', 'journeyman', ['OBSERVE', 'CONNECT', 'PROPOSE'], 5, 3)).toEqual({
      kind: 'narrow',
      capabilities: ['OBSERVE', 'CONNECT'],
      reattest: true,
    });
  });
});

describe('going to 2', () => {
  test.each<SessionType>(['operator', 'workload'])('ends a %s session at once, whatever its tier', (type) => {
    for (const from of [5, 4, 3] as const) {
      expect(judge(type, 'site_owner', ['OBSERVE'], from, 2)).toEqual({ kind: 'end', reason: 'POSTURE_END' });
    }
  });

  test('narrows a critical session that holds more than 2 gives', () => {
    expect(judge('incident-response', 'master', ['OBSERVE', 'SHELL', 'EXECUTE'], 3, 2)).toEqual({
      kind: 'narrow',
      capabilities: ['OBSERVE', 'SHELL'],
      reattest: false,
    });
  });

  test('drains a critical session of which nothing is left', () => {
    expect(judgeSession(accord, session('management', 'master', ['EXECUTE'], 'underlay'), 3, 2)).toEqual(DRAIN);
  });

  test('keeps the mesh and whatever critical session already fits', () => {
    expect(judge('mesh', 'master', ['OBSERVE', 'CONNECT'], 3, 2)).toEqual({ kind: 'keep', reattest: false });
    expect(judge('health-monitoring', 'apprentice', ['OBSERVE'], 5, 2)).toEqual({ kind: 'keep', reattest: true });
  });
});

test('going to 1 ends every remote session', () => {
  for (const type of [
    'management',
    'incident-response',
    'health-monitoring',
    'operator',
    'workload',
    'mesh',
  ] as const) {
    expect(judge(type, 'site_owner', ['OBSERVE'], 2, 1)).toEqual({ kind: 'end', reason: 'POSTURE_ISOLATED' });
  }
});

test('a level that rises or stays takes nothing away', () => {
  for (const from of POSTURE_LEVELS) {
    for (const to of POSTURE_LEVELS.filter((level) => level >= from)) {
      expect(judge('operator', 'apprentice', ['ADMIN'], from, to)).toEqual({ kind: 'keep', reattest: false });
    }
  }
});

test('5 to 4 takes nothing away by the default accord', () => {
  expect(judge('operator', 'apprentice', ['OBSERVE', 'CONNECT', 'PROPOSE'], 5, 4)).toEqual({
    kind: 'keep',
    reattest: false,
  });
});

test('a site that takes a capability away at 4 has the sessions drained that hold it', () => {
  const apprentice = { ...accord.capabilities.overlay.apprentice, 4: ['OBSERVE'] as const };
  const capabilities = { ...accord.capabilities, overlay: { ...accord.capabilities.overlay, apprentice } };
  const stricter = { ...accord, capabilities };
  expect(judgeSession(stricter, session('operator', 'apprentice', ['OBSERVE', 'CONNECT'], 'overlay'), 5, 4)).toEqual(
    DRAIN,
  );
});

function judge(
  type: SessionType,
  tier: Tier,
  capabilities: readonly Capability[],
  from: PostureLevel,
  to: PostureLevel,
): SessionVerdict {
  return judgeSession(accord, session(type, tier, capabilities, 'overlay'), from, to);
}

function session(
  type: SessionType,
  tier: Tier,
  capabilities: readonly Capability[],
  mode: 'overlay' | 'underlay',
): LiveSession {
  return { type, tier, grant: { mode, capabilities, targets: [], reachable: [], lifetimeMs: 1000 } };
}
