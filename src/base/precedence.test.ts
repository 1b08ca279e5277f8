import { expect, test } from 'vitest';
import { openPrecedence, type Priorities } from './precedence.ts';

/** A kernel that lets nobody below `least`. */
function kernel({ ordinary = 0, least = -20 } = {}) {
  let now = ordinary;
  const priorities: Priorities = {
    get: () => now,
    set(nice) {
      if (nice < least) throw new Error('EACCES');
      now = nice;
    },
  };
  return { priorities, now: () => now };
}

test('takes precedence and gives it back, as often as it is taken', () => {
  const { priorities, now } = kernel();
  const precedence = openPrecedence(priorities);
  expect(now()).toBe(0);
  for (let i = 0; i < 2; i += 1) {
    const taken = precedence?.take();
    expect(now()).toBe(-10);
    taken?.[Symbol.dispose]();
    taken?.[Symbol.dispose]();
    expect(now()).toBe(0);
  }
});

test('goes back to what it was given at its start, and never behind that', () => {
  const given = kernel({ ordinary: 5 });
  openPrecedence(given.priorities)?.take()[Symbol.dispose]();
  expect(given.now()).toBe(5);
  const ahead = kernel({ ordinary: -15 });
  const taken = openPrecedence(ahead.priorities)?.take();
  expect(ahead.now()).toBe(-15);
  taken?.[Symbol.dispose]();
  expect(ahead.now()).toBe(-15);
});

test('a process that talks to strangers does not inherit it: what is started in between is ordinary', () => {
  const { priorities, now } = kernel();
  const precedence = openPrecedence(priorities);
  using _ = precedence?.take();
  expect(precedence?.without(() => now())).toBe(0);
  expect(now()).toBe(-10);
  expect(() =>
    precedence?.without(() => {
      throw new Error('no such program');
    }),
  ).toThrow('no such program');
  expect(now()).toBe(-10);
});

test('what is started while nothing was taken changes nothing', () => {
  const { priorities, now } = kernel();
  expect(openPrecedence(priorities)?.without(() => now())).toBe(0);
  expect(now()).toBe(0);
});

test('none is had where nobody says what the ordinary one is', () => {
  const get = (): number => {
    throw new Error('EPERM');
  };
  expect(openPrecedence({ ...kernel().priorities, get })).toBeUndefined();
});

test('there is none where it may not be taken, and nothing was changed', () => {
  const { priorities, now } = kernel({ least: 0 });
  expect(openPrecedence(priorities)).toBeUndefined();
  expect(now()).toBe(0);
});
