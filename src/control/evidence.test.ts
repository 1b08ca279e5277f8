import { expect, test } from 'vitest';
import { ControlWorld } from './control-world.ts';
import { EVIDENCE_OFF, type EvidenceView } from './evidence-desk.ts';
import { FACTS } from './fixtures.ts';
import { healthOf } from './health.ts';
import { MemoryGateway } from './memory-view.ts';
import type { ConsoleUse } from './server.ts';
import { tierOf } from './wire/evidence.ts';

const AWAY: EvidenceView['quartermaster'] = {
  place: 'remote',
  state: 'connecting',
  acknowledged: 7,
  behind: 5,
  behindBytes: 1_700,
  awaySinceMs: 1_799_999_940_000,
  problem: 'nobody listens',
  forgotten: 1,
};

test.each<readonly [string, Partial<EvidenceView>, boolean, RegExp]>([
  ['nearly full is told while all is well', { usedBytes: 750_000 }, true, /71 % of the room for evidence is used/],
  ['full ends readiness', { state: 'full' }, false, /no room for evidence, so no session is admitted/],
  ['a failed disk ends readiness, by name', { state: 'failed', detail: 'read-only' }, false, /admitted: read-only/],
  ['a reserve that is not there', { isReserveHeld: false }, true, /the disk is full/],
  ['a log that cannot be published', { detail: 'no space' }, true, /cannot be published: no space/],
  [
    'a witness that does not cosign',
    { witnesses: [{ name: 'w.example', size: 3, problem: 'no answer in time' }] },
    true,
    /the witness w\.example does not cosign: no answer in time/,
  ],
  ['a Quartermaster that is away', { quartermaster: AWAY }, true, /is not reached, 5 entries wait: nobody listens/],
  [
    'a slow disk, before it hurts',
    { slowestCommitMs: 140 },
    true,
    /the disk of the evidence is slow: a commit took 140 ms/,
  ],
  ['a clock that is ahead', { retentionHeld: 'the clock is 9 days ahead' }, true, /the clock is 9 days ahead/],
  ['none at all', EVIDENCE_OFF, true, /no evidence is kept/],
])('health: %s', async (_, changes, isReady, text) => {
  await using world = await ControlWorld.create();
  const view = new MemoryGateway(world.clock, {
    ...FACTS,
    evidence: { ...FACTS.evidence, ...changes },
    leaseRemainingMs: 5_000,
  });
  const health = healthOf(await view.status());
  expect(health).toMatchObject({ isLive: true, isReady });
  expect(health.problems.join()).toMatch(text);
});

test('what is told of Quartermaster comes over the socket as it is', async () => {
  await using world = await ControlWorld.create();
  const evidence = { ...FACTS.evidence, quartermaster: AWAY, slowestCommitMs: 7, retentionHeld: 'the clock' };
  world.view.facts = { ...FACTS, evidence };
  await world.start();
  const console = await world.console();
  expect((await console.status()).evidence).toEqual(evidence);
});

test('each order of a console is told with who gave it and what became of it; looks are not', async () => {
  await using world = await ControlWorld.create();
  const uses: ConsoleUse[] = [];
  await world.start({ onUse: async (use) => void uses.push(use) });
  const console = await world.console();
  await console.status();
  await console.setPosture({ level: 3, reason: 'incident' });
  await expect(console.setAside('nobody', 'why')).rejects.toThrow('MALFORMED');
  await console.evidence.list({ kind: 'consoleUse' });
  expect(uses.map(({ verb, refused, by }) => [verb, refused, by.pid])).toEqual([
    ['setPosture', undefined, 4242],
    ['setAside', 'MALFORMED', 4242],
    ['listRecords', undefined, 4242],
  ]);
  expect(uses.every(({ request }) => request.length > 0)).toBe(true);
});

test('who may only look is an apprentice to the records', () => {
  expect([tierOf('owner'), tierOf('observer')]).toEqual(['site_owner', 'apprentice']);
});
