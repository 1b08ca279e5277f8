/** Who is not let in, and who is sent nothing. */
import assert from 'node:assert/strict';
import { GATEWAY_B } from '../../lab/lab.ts';
import { watchMints } from '../../lab/mints.ts';
import { runHostile, startHostile } from '../../support/hostile/index.ts';
import { conversations, type WireConversation } from '../../support/records.ts';
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const hostileSteps: readonly Step<Stage>[] = [
  { name: 'stolen SAT refused', run: stolenToken },
  { name: 'wrong responder identity refused before any SAT is sent', run: wrongResponder },
];

/** The token is good, the SVID is good; they are not one another's. */
async function stolenToken(stage: Stage): Promise<string> {
  const { lab, people } = stage;
  const stolen = people.apprentice.identity.jwt([GATEWAY_B]);
  const before = (await sessionsOnTheWire(stage)).length;
  const visit = { workloadApi: people.thief.socketPath, url: 'ws://10.77.0.2:7843/', gatewayId: GATEWAY_B };
  const [honest, theft] = [
    await runHostile(lab.a, 'stolen-token', visit),
    await runHostile(lab.a, 'stolen-token', { ...visit, stolenToken: stolen }),
  ];
  assert.equal(honest.outcome, 'granted', 'the same person without the stolen token is refused, too');
  assert.equal(theft.outcome, 'refused', 'it was let in');
  const attempts = (await sessionsOnTheWire(stage)).slice(before);
  // After its ATTEST-CONFIRM the thief got one record, the denial, and the connection was over.
  const last = attempts.at(-1);
  assert.deepEqual(shape(last).slice(0, 4), ['initiator 1', 'responder 2', 'initiator 3', 'responder 16']);
  assert.ok(!lab.b.gateway.sofar().stderr.includes(stolen), 'the token is in the log');
  await lab.b.gateway.line(/"reason":"SAT_WRONG_SUBJECT".*"msg":"handshake refused"/);
  return `a thief with an SVID of their own and another's token gets ${theft.reason}; site-b knows why: SAT_WRONG_SUBJECT`;
}

/** A workload of site-b's own trust domain poses as its gateway. */
async function wrongResponder(stage: Stage): Promise<string> {
  const { lab, people, wan } = stage;
  const impostor = await lab.b.person({ path: '/impostor', tier: 'site_owner' });
  await using rogue = startHostile(lab.b, 'rogue-responder', { workloadApi: impostor.socketPath, port: ROGUE_PORT });
  await rogue.line(/^listening/);
  const minted = watchMints(people.apprentice);
  const visit = await lab.a.connect(
    people.apprentice,
    '--gateway',
    `10.77.0.2:${ROGUE_PORT}`,
    '--gateway-id',
    GATEWAY_B,
    '--ping',
  );
  assert.equal(visit.code, 1, 'the impostor was believed');
  assert.match(visit.stderr, /WRONG_IDENTITY/);
  assert.match(await rogue.line(/"confirm"/), /"confirm":false/);
  const [met] = conversations(await wan.packets(), ROGUE_PORT);
  assert.deepEqual(shape(met), ['initiator 1', 'responder 2'], 'more than the first two records was on the wire');
  assert.deepEqual(minted, [], 'a token was minted for it');
  return 'after ATTEST-VERIFY the visitor hung up: no third record on the wire, no token minted by the Workload API';
}

const ROGUE_PORT = 7844;

const sessionsOnTheWire = async ({ wan }: Stage) => conversations(await wan.packets(), 7843);

const shape = (met: WireConversation | undefined): readonly string[] =>
  (met?.records ?? []).map(({ from, type }) => `${from} ${type}`);
