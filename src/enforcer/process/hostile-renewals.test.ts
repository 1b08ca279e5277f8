/** What a terminator that was taken over makes of the patience that a renewal is met with. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { reasonOf } from '../../../protocol/errors.ts';
import { attempt, establish, MemoryWorld, REQUEST } from '../../../test/support/memory-nodes.ts';
import { openDoor, say } from '../../../test/support/taken-over.ts';
import { AgentUnavailable } from '../../identity/source.ts';

let world: MemoryWorld;

beforeEach(() => {
  world = new MemoryWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

it('attack: a terminator has SPIRE asked once a second, and only about those whom it dialled itself', async () => {
  const [a, b, c] = [await world.node('a'), await world.node('b'), await world.node('c')];
  const [honest, hostile] = [openDoor(b), openDoor(b)];
  const request = { ...REQUEST, targets: [] };
  const ask = (session: string): Promise<string> => hostile.inside.reasonFor(say.mayRenew(session));

  const { hosted } = await establish(c, hostile.node);
  expect(await ask(hosted.id)).toBe('EXPIRED');
  const { visited: own } = await establish(hostile.node, a, { request });
  const { visited: theirs } = await establish(honest.node, c, { request });
  b.tokens.minted.length = 0;
  for (const id of [theirs.id, 'a'.repeat(32)]) expect(await ask(id)).toBe('EXPIRED');
  expect(b.tokens.minted).toEqual([]);

  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(own.id)));
  expect(new Set([...answers, await ask(own.id)])).toEqual(new Set(['done']));
  expect(b.tokens.minted).toEqual([a.spiffeId]);

  await world.clock.advance(1_000);
  expect(await ask(own.id)).toBe('done');
  expect(b.tokens.minted).toHaveLength(2);
});

it('attack: a terminator names sessions that it has not with that peer: nobody waits for SPIRE on their behalf', async () => {
  const [a, b, c] = [await world.node('a'), await world.node('b'), await world.node('c')];
  const [honest, hostile] = [openDoor(b), openDoor(b)];
  const request = { ...REQUEST, targets: [] };
  const { visited: theirs } = await establish(honest.node, c, { request });
  const { visited: own } = await establish(hostile.node, a, { request });
  const notIts = [theirs.id, own.id, 'a'.repeat(32)];
  let asked = 0;
  const away = (): never => {
    asked += 1;
    throw new AgentUnavailable('no answer', undefined);
  };

  b.tokens.beforeMint = away;
  for (const renews of notIts) {
    expect(await reasonFor(attempt(hostile.node, c, { request, renews }))).toBe('SAT_UNVERIFIABLE');
  }
  expect(asked).toBe(notIts.length);
  const patient = attempt(hostile.node, a, { request, renews: own.id });
  await expect.poll(() => asked).toBe(notIts.length + 1);
  b.tokens.beforeMint = () => {};
  await world.clock.advance(1_000);
  await patient;

  b.change(3);
  asked = 0;
  b.tokens.beforeConfirm = away;
  for (const renews of notIts) {
    const { admit } = await attempt(c, hostile.node, { request, renews });
    expect(await reasonFor(hostile.node.enforcer.admit(admit))).toBe('SAT_UNVERIFIABLE');
  }
  expect(asked).toBe(notIts.length);
});

function reasonFor(refused: Promise<unknown>): Promise<string> {
  return refused.then(() => 'done', reasonOf);
}
