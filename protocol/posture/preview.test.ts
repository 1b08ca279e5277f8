import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { SessionType, Tier } from '../capability/model.ts';
import type { PostureLevel } from './level.ts';
import { parseAccord } from './parse-accord.ts';
import { type PreviewedSession, previewLevel } from './preview.ts';

const ACCORD = parseAccord(readFileSync(new URL('../accords/default.yaml', import.meta.url)));
const SESSIONS = [
  session('operator', 'apprentice', ['OBSERVE', 'PROPOSE']),
  session('operator', 'master', ['OBSERVE', 'CONNECT']),
  session('management', 'master', ['OBSERVE', 'EXECUTE']),
  session('mesh', 'journeyman', ['CONNECT']),
];

test.each<readonly [PostureLevel, readonly string[]]>([
  [5, ['keep', 'keep', 'keep', 'keep']],
  [3, ['drain', 'reattest', 'reattest', 'reattest']],
  [2, ['end', 'end', 'narrow', 'reattest']],
  [1, ['end', 'end', 'end', 'end']],
])('from 5 to %i', (to, fates) => {
  expect(previewLevel(ACCORD, SESSIONS, 5, to).map(({ fate }) => fate)).toEqual(fates);
});

test('a peer that is at 3 already has lost what 3 takes', () => {
  const [apprentice] = SESSIONS.map((one) => ({ ...one, peerLevel: 3 as const }));
  expect(previewLevel(ACCORD, apprentice === undefined ? [] : [apprentice], 5, 3)).toMatchObject([{ fate: 'keep' }]);
});

test('a drained session is told its time', () => {
  expect(previewLevel(ACCORD, SESSIONS.slice(0, 1), 5, 3)).toMatchObject([{ deadlineMs: 4_000 }]);
});

function session(
  type: SessionType,
  tier: Tier,
  capabilities: PreviewedSession['grant']['capabilities'],
): PreviewedSession {
  const grant = { mode: 'overlay', capabilities, targets: [], reachable: [], lifetimeMs: 60_000 } as const;
  return { id: type, peer: 'spiffe://b.test/x', peerLevel: 5, type, tier, grant };
}
