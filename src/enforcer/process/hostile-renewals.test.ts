/** A terminator that was taken over asks without end whether it may attest again. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { establish, MemoryWorld, REQUEST } from '../../../test/support/memory-nodes.ts';
import { openDoor, say } from '../../../test/support/taken-over.ts';

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
