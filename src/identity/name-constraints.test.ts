import { describe, expect, test } from 'vitest';
import type { SubjectNames } from './certificate-extensions.ts';
import { violatesNameConstraints } from './name-constraints.ts';

const NONE: SubjectNames = { uris: [], dns: [], others: [] };
const EMAIL = 1;
const DIRECTORY = 4;
const IP = 7;

describe('names under constraints', () => {
  test.each<[string, Partial<SubjectNames>, Partial<SubjectNames>, Partial<SubjectNames>, boolean]>([
    ['a permitted host', { uris: ['spiffe://a.test/x'] }, { uris: ['a.test'] }, {}, false],
    ['a permitted host in capitals', { uris: ['spiffe://a.test/x'] }, { uris: ['A.Test'] }, {}, false],
    ['another host', { uris: ['spiffe://b.test/x'] }, { uris: ['a.test'] }, {}, true],
    [
      'a host below, where only the very host is permitted',
      { uris: ['spiffe://x.a.test/x'] },
      { uris: ['a.test'] },
      {},
      true,
    ],
    ['a host below, where those are', { uris: ['spiffe://x.a.test/x'] }, { uris: ['.a.test'] }, {}, false],
    ['the host itself, where those below are', { uris: ['spiffe://a.test/x'] }, { uris: ['.a.test'] }, {}, true],
    ['a host that only ends alike', { uris: ['spiffe://evila.test/x'] }, { uris: ['.a.test'] }, {}, true],
    [
      'an excluded host that is permitted too',
      { uris: ['spiffe://a.test/x'] },
      { uris: ['a.test'] },
      { uris: ['a.test'] },
      true,
    ],
    ['an excluded host', { uris: ['spiffe://a.test/x'] }, {}, { uris: ['a.test'] }, true],
    ['a URI without a host', { uris: ['urn:x'] }, { uris: ['a.test'] }, {}, true],
    ['a DNS name below', { dns: ['x.a.test'] }, { dns: ['a.test'] }, {}, false],
    ['a DNS name that only ends alike', { dns: ['evila.test'] }, { dns: ['a.test'] }, {}, true],
    ['an excluded DNS name in capitals', { dns: ['X.A.TEST'] }, {}, { dns: ['a.test'] }, true],
    ['any DNS name where every one is excluded', { dns: ['a.test'] }, {}, { dns: [''] }, true],
    ['URIs where only DNS names are constrained', { uris: ['spiffe://a.test/x'] }, { dns: ['b.test'] }, {}, false],
    ['a form that is constrained and not compared here', { others: [IP] }, { others: [IP] }, {}, true],
    ['a form beside the constrained one', { others: [EMAIL] }, { others: [IP] }, {}, false],
    ['anything, where directory names are permitted', {}, { others: [DIRECTORY] }, {}, true],
    ['anything, where directory names are excluded', {}, {}, { others: [DIRECTORY] }, true],
  ])('%s', (_what, names, permitted, excluded, violates) => {
    const constraints = { permitted: { ...NONE, ...permitted }, excluded: { ...NONE, ...excluded } };
    expect(violatesNameConstraints({ ...NONE, ...names }, constraints)).toBe(violates);
  });
});
