import { expect, it } from 'vitest';
import { Slots } from './slots.ts';

it('a slot that is claimed is handed to nobody else, and its generation never again', () => {
  const slots = new Slots({ first: 1, size: 6 });
  slots.claim(4, 7);
  const taken = [slots.take(), slots.take(), slots.take(), slots.take()];
  expect(taken.map(({ slot }) => slot).sort()).toEqual([1, 2, 3, 5]);
  expect(() => slots.take()).toThrow('SESSION_LIMIT');
  expect(slots.nextGeneration(4)).toBe(8);
  slots.giveBack(4);
  expect(slots.take()).toEqual({ slot: 4, generation: 9 });
});

it.each([
  ['one that is claimed already', 2],
  ['slot 0, which names nobody', 0],
  ['one beyond the last', 6],
  ['a negative one', -1],
])('a record cannot claim %s', (_name, slot) => {
  const slots = new Slots({ first: 1, size: 6 });
  slots.claim(2, 1);
  expect(() => slots.claim(slot, 1)).toThrow('SESSION_LIMIT');
});
