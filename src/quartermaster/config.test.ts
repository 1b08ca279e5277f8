import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseQuartermasterConfig } from './config.ts';

const read = (text: string) => parseQuartermasterConfig(new TextEncoder().encode(text), 'q.yaml');

test('the example is taken, and says of every key what its default is', () => {
  const example = readFileSync(new URL('../../deploy/quartermaster.example.yaml', import.meta.url), 'utf8');
  const { submitters, readers, proposals, nats, log, ...rest } = read(example);
  expect(read('apiVersion: shellstream/v1')).toMatchObject(rest);
  expect([submitters, readers, proposals?.issuers, nats?.servers].map((list) => list?.length)).toEqual([1, 1, 1, 3]);
  expect(log.level).toBe('info');
});

test('nobody may do anything unless it is said', () => {
  expect(read('apiVersion: shellstream/v1')).toMatchObject({ submitters: [], readers: [] });
});

test.each([
  [
    'a log with two writers',
    'submitters: [{spiffeId: "spiffe://a/x", origin: o}, {spiffeId: "spiffe://a/y", origin: o}]',
  ],
  ['a key that is not known', 'reader: []'],
  ['an issuer whose key is another’s', 'proposals: {proposers: ["spiffe://a/*"], issuers: ["a+00000000+AQ=="]}'],
  ['a tier that is none', 'readers: [{pattern: "spiffe://a/*", tier: root}]'],
])('%s is refused with its place', (_, text) => {
  expect(() => read(`apiVersion: shellstream/v1\n${text}\n`)).toThrow(/q\.yaml:2:/);
});
