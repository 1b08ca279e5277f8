import { expect, it } from 'vitest';
import { Descriptors } from './descriptors.ts';

it('gives as many as there are, and each again after it came back, once', () => {
  const descriptors = new Descriptors(2);
  const first = descriptors.take();
  expect(descriptors.take()).toBeDefined();
  expect(descriptors.take()).toBeUndefined();
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  expect(descriptors.take()).toBeDefined();
  expect(descriptors.take()).toBeUndefined();
});

it('leaves to others what is to be left', () => {
  const descriptors = new Descriptors(3);
  expect([descriptors.take(2), descriptors.take(2)].map((one) => one !== undefined)).toEqual([true, false]);
  expect(descriptors.take()).toBeDefined();
});

it('knows the limit of this process', () => {
  expect(Descriptors.ofProcess().total).toBeGreaterThan(64);
});
