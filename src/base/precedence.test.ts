import { beforeEach, expect, test } from 'vitest';
import { openPrecedence, type Priorities } from './precedence.ts';

const OWN = 7;
/** By thread. */
let nice: Map<number, number>;

beforeEach(() => {
  nice = new Map([OWN, 8, 9].map((thread) => [thread, 0]));
});

/** A kernel that lets nobody below `least`. */
function kernel({ least = -20 } = {}): Priorities {
  return {
    threads: () => [...nice.keys()],
    get: () => nice.get(OWN) ?? 0,
    set(thread, value) {
      if (value < least) throw new Error('EACCES');
      if (!nice.has(thread)) throw new Error('ESRCH');
      nice.set(thread, value);
    },
  };
}

const all = (): readonly number[] => [...nice.values()];

test('all threads have precedence and give it back, as often as it is taken', () => {
  const precedence = openPrecedence(kernel());
  expect(all()).toEqual([0, 0, 0]);
  for (let i = 0; i < 2; i += 1) {
    const taken = precedence?.take();
    expect(all()).toEqual([-10, -10, -10]);
    taken?.[Symbol.dispose]();
    taken?.[Symbol.dispose]();
    expect(all()).toEqual([0, 0, 0]);
  }
});

test('a thread that came meanwhile does not keep it, and one that went keeps it from nobody', () => {
  const taken = openPrecedence(kernel())?.take();
  nice.delete(8);
  nice.set(10, -10);
  taken?.[Symbol.dispose]();
  expect(all()).toEqual([0, 0, 0]);
});

test('attack: precedence does not stay with who uses up all descriptors: it is given back though nobody lists the threads', () => {
  let isListed = true;
  const listing = kernel();
  const threads = (): readonly number[] => {
    if (!isListed) throw new Error('EMFILE');
    return listing.threads();
  };
  const precedence = openPrecedence({ ...listing, threads });
  const taken = precedence?.take();
  isListed = false;
  taken?.[Symbol.dispose]();
  expect(all()).toEqual([0, 0, 0]);
});

test('a thread that one which was not lowered yet starts while it is given back does not keep it', () => {
  const listing = kernel();
  const set = (thread: number, value: number): void => {
    if (thread === 9 && value === 0 && nice.get(9) === -10) nice.set(11, -10);
    listing.set(thread, value);
  };
  const taken = openPrecedence({ ...listing, set })?.take();
  taken?.[Symbol.dispose]();
  expect(nice.get(11)).toBe(0);
  expect(all()).toEqual([0, 0, 0, 0]);
});

test.each([
  [5, -10],
  [-15, -15],
])('with %i to begin with it goes to %i and back', (given, taken) => {
  nice = new Map([[OWN, given]]);
  const precedence = openPrecedence(kernel());
  expect(all()).toEqual([given]);
  const one = precedence?.take();
  expect(all()).toEqual([taken]);
  one?.[Symbol.dispose]();
  expect(all()).toEqual([given]);
});

test('attack: a process that talks to strangers does not inherit it: what is started in between is ordinary', () => {
  const precedence = openPrecedence(kernel());
  using _ = precedence?.take();
  expect(precedence?.without(() => nice.get(OWN))).toBe(0);
  expect(nice.get(OWN)).toBe(-10);
  expect(() =>
    precedence?.without(() => {
      throw new Error('no such program');
    }),
  ).toThrow('no such program');
  expect(nice.get(OWN)).toBe(-10);
});

test('what is started while nothing was taken is ordinary, whatever the thread was left with', () => {
  const precedence = openPrecedence(kernel());
  nice.set(OWN, -10);
  expect(precedence?.without(() => nice.get(OWN))).toBe(0);
  expect(all()).toEqual([0, 0, 0]);
});

test('there is none where it may not be taken, or nobody says what the ordinary one is, and nothing was changed', () => {
  expect(openPrecedence(kernel({ least: 0 }))).toBeUndefined();
  const unknown = (): never => {
    throw new Error('EPERM');
  };
  expect(openPrecedence({ ...kernel(), get: unknown })).toBeUndefined();
  expect(openPrecedence({ ...kernel(), threads: unknown })).toBeUndefined();
  expect(all()).toEqual([0, 0, 0]);
});
