/** What a fall of posture does, at the other side and at this one. */
import assert from 'node:assert/strict';
import { grantOf, listeningPort } from '../../lab/answers.ts';
import { GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../../lab/lab.ts';
import type { Site } from '../../lab/site.ts';
import { eventually } from '../../support/eventually.ts';
import { attemptsAt, type Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const postureSteps: readonly Step<Stage>[] = [
  { name: 'a peer at 3 is governed by 3, the host stays at 5', run: peerAtThree },
  { name: 'local 5 to 2 ends non-critical sessions, management stays', run: fallToTwo },
];

const PROPOSE = ['--capability', 'OBSERVE', '--capability', 'PROPOSE'] as const;

async function peerAtThree(stage: Stage): Promise<string> {
  const { lab, people, cast } = stage;
  const wanted = [...TO_SITE_B, ...GRANTED_TARGET, ...PROPOSE, '--capability', 'CONNECT', '--json'];
  cast.operator = stage.own(lab.a.startConnect(people.apprentice, ...wanted));
  const atFive = grantOf(await cast.operator.line(/"grant"/));
  assert.deepEqual(atFive.capabilities, ['OBSERVE', 'CONNECT', 'PROPOSE']);

  const [fromThree] = await Promise.all([
    lab.a.connect(people.apprentice, ...TO_SITE_B, ...PROPOSE, '--posture', '3', '--ping', '--json'),
    setPosture(lab.a, 3),
  ]);
  const atThree = grantOf(fromThree.stdout.split('\n')[0]);
  assert.deepEqual([atThree.capabilities, atThree.effectiveLevel], [['OBSERVE'], 3], 'more than level 3 gives');

  const peer = await eventually('level 3 in the map peer_level of site-b', async () =>
    (await lab.b.peerLevelsInKernel()).includes(3),
  );
  assert.ok(peer);
  assert.deepEqual(await lab.b.postureInKernel(), [5, 5], 'the host itself fell');
  await eventually('the two sessions, each at its own level', async () => {
    const levels = (await lab.b.sessions()).map(({ type, effectiveLevel }) => `${type} ${effectiveLevel}`).sort();
    assert.deepEqual(levels, ['mesh 3', 'operator 5']);
    return true;
  });
  await setPosture(lab.a, 5);
  await eventually('level 5 in peer_level again', async () =>
    (await lab.b.peerLevelsInKernel()).every((level) => level === 5),
  );
  return 'map posture_level of site-b says 5, peer_level says 3; an apprentice at 3 gets no PROPOSE, one at 5 has it and keeps it';
}

async function fallToTwo(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  const { operator } = cast;
  assert.ok(operator, 'there is no operator session');
  const port = listeningPort(await operator.line(/"listening"/));
  const carried = await eventually('what the forward carries', () => lab.a.greeting('127.0.0.1', port));
  assert.equal(carried, `hello ${PORTS.granted}`, 'the forward carries nothing');
  const before = await attemptsAt(stage, PORTS.granted);

  await setPosture(lab.b, 2);
  const { code, stderr } = await operator.finished;
  assert.deepEqual([code, JSON.parse(stderr).error], [1, 'POSTURE_END']);
  assert.deepEqual(await lab.b.postureInKernel(), [5, 2]);
  // The mesh attests anew at 2, and its tunnel is without a peer for a moment.
  const greeting = await eventually('the management target', () => lab.a.greeting(HOST, PORTS.management));
  assert.equal(greeting, `hello ${PORTS.management}`, 'management went, too');
  assert.equal(await lab.a.greeting(HOST, PORTS.granted), undefined, 'the ordinary target is still reached');
  assert.equal(await attemptsAt(stage, PORTS.granted), before, 'a packet to the ordinary target came through');
  await setPosture(lab.b, 5);
  await eventually('the ordinary target again', async () => (await lab.a.greeting(HOST, PORTS.granted)) !== undefined);
  return `the operator's session ended with POSTURE_END; ${PORTS.management} (management) still answers through the tunnel, no packet reaches ${PORTS.granted}`;
}

/** On the site's own console. */
export async function setPosture(site: Site, level: number): Promise<void> {
  const { code, stderr } = await site.shellstream('posture', 'set', String(level), '--reason', 'demo');
  assert.equal(code, 0, stderr);
}
