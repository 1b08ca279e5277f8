import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { formatPrefix } from '../../protocol/net/prefix.ts';
import { parseAccord } from '../../protocol/posture/parse-accord.ts';
import { DEFAULT_ACCORD_FILE } from '../base/accord-file.ts';
import { parseConfig } from '../base/config.ts';
import { translationsOf } from './translations.ts';

const BASE = parseAccord(readFileSync(DEFAULT_ACCORD_FILE));
const config = (more: string) =>
  parseConfig(`apiVersion: shellstream/v1
site: { trustDomain: a.example }
mesh: { prefixTranslation: [{ internal: 192.168.77.0/24, external: 10.1.77.0/24 }] }
${more}`);
const accord = (targets: string) =>
  parseAccord(
    Buffer.from(`apiVersion: shellstream.accord/v1
extends: default
id: a
serial: 1
signer: none
minimumVersion: 1
${targets}`),
    { bases: new Map([[BASE.id, BASE]]) },
  );
const externals = (...args: Parameters<typeof translationsOf>) =>
  translationsOf(...args).map(({ external }) => formatPrefix(external));

test('an external prefix that nobody is told of or granted is a mistake', () => {
  expect(() => translationsOf(config('advertise: [10.1.78.0/24]'), accord(''))).toThrow(/10\.1\.77\.0\/24 is neither/);
});

test('one that is advertised, or of which the accord names a part, is not', () => {
  const targets = `targets:
  - name: web
    class: ordinary
    prefixes: [10.1.77.10/32]
    protocol: tcp
    ports: [443]
    allow: [{ identities: any, minimumTier: apprentice }]
`;
  expect(externals(config('advertise: [10.1.0.0/16]'), accord(''))).toEqual(['10.1.77.0/24']);
  expect(externals(config(''), accord(targets))).toEqual(['10.1.77.0/24']);
});
