import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ROOMS, RULES } from './architecture/rules.ts';
import { readTree, type Source } from './architecture/source.ts';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const LEAST_FILES = 250;

describe('the tree has the shape of DESIGN §1', () => {
  const sources = readTree(REPOSITORY, ROOMS);

  test('the checker saw the tree: a checker that reads nothing passes everything', () => {
    expect(sources.length).toBeGreaterThanOrEqual(LEAST_FILES);
    expect(sources.flatMap(({ imports }) => imports).length).toBeGreaterThan(2 * sources.length);
    const seen = new Set(sources.map(({ path }) => path.split('/').slice(0, 2).join('/')));
    for (const folder of ['src/base', 'src/dataplane', 'protocol/noise']) expect(seen).toContain(folder);
  });

  test.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(rule(sources)).toEqual([]);
  });
});

describe('a planted violation is found', () => {
  const clean = { 'src/base/clock.ts': 'export const now = () => setTimeout(() => Date.now(), 1);' };

  test('and a clean tree has none', () => {
    const sources = planted({
      ...clean,
      'protocol/level.ts':
        "import { z } from 'zod'; export const level = z.int(); export const parts = { process: 1 };",
      'protocol/level.test.ts': "import 'node:fs'; import './level.ts';",
      'src/link/dial.ts':
        "import type { Level } from '../../protocol/level.ts'; import { now } from '../base/clock.ts';",
    });
    expect(Object.values(RULES).flatMap((rule) => rule(sources))).toEqual([]);
  });

  test.each<{ rule: keyof typeof RULES; files: Record<string, string> }>([
    {
      rule: 'src imports go down the list of layers',
      files: { 'src/base/a.ts': "import type { X } from '../link/b.ts';", 'src/link/b.ts': '' },
    },
    {
      rule: 'src imports go down the list of layers',
      files: { 'src/cli/a.ts': "export * from '../roots/b.ts';", 'src/roots/b.ts': '' },
    },
    {
      rule: 'src imports go down the list of layers',
      files: {
        'src/base/a.ts': "await using x = open(); const b = await import('../link/b.ts');",
        'src/link/b.ts': '',
      },
    },
    { rule: 'src holds nothing but its layers', files: { 'src/utilities/a.ts': '' } },
    { rule: 'src holds nothing but its layers', files: { 'src/main.ts': '' } },
    {
      rule: 'protocol imports nothing but protocol',
      files: { 'protocol/a.ts': "import '../src/base/clock.ts';", ...clean },
    },
    {
      rule: 'protocol imports no builtin of Node, and few packages',
      files: { 'protocol/a.ts': "import type { X } from 'node:net';" },
    },
    { rule: 'protocol imports no builtin of Node, and few packages', files: { 'protocol/a.ts': "import 'ws';" } },
    { rule: 'protocol imports no builtin of Node, and few packages', files: { 'protocol/a.ts': "import 'fs';" } },
    {
      rule: 'protocol knows no clock, no randomness and no host',
      files: { 'protocol/a.ts': 'export const t = globalThis.Date.now();' },
    },
    {
      rule: 'protocol knows no clock, no randomness and no host',
      files: { 'protocol/a.ts': 'export const r = Math.random();' },
    },
    {
      rule: 'only src/dataplane/linux loads the privileged addon',
      files: { 'src/base/a.ts': "createRequire(import.meta.url)('../../native/kernel/index.node');" },
    },
    {
      rule: 'only src/base loads the crypto addon',
      files: { 'src/link/a.ts': 'load(new URL(`../../native/crypto/x.node`, import.meta.url));' },
    },
    {
      rule: 'only src/base loads the sandbox addon',
      files: { 'src/roots/a.ts': "load('../../native/sandbox/sandbox.node');" },
    },
    {
      rule: 'what ships imports no test, bench, fuzzer or development trust domain',
      files: { 'src/base/a.ts': "import '../../certs-dev/ca.ts';", 'certs-dev/ca.ts': '' },
    },
    {
      rule: 'what ships imports no test, bench, fuzzer or development trust domain',
      files: { 'src/base/a.ts': "import './b.test.ts';", 'src/base/b.test.ts': '' },
    },
    {
      rule: 'no cycles',
      files: {
        'src/base/a.ts': "import './b.ts';",
        'src/base/b.ts': "import './c.ts';",
        'src/base/c.ts': "import './a.ts';",
      },
    },
    { rule: 'every relative import names a file that is there', files: { 'src/base/a.ts': "import './gone.ts';" } },
    { rule: 'no file above 500 lines', files: { 'src/base/a.ts': '\n'.repeat(501) } },
    { rule: 'timers only in src/base/clock.ts', files: { 'src/link/a.ts': 'globalThis.setInterval(() => 1, 1);' } },
    {
      rule: 'timers only in src/base/clock.ts',
      files: { 'src/link/a.ts': "import { setTimeout as nap } from 'node:timers/promises';" },
    },
    {
      rule: 'tests skip through test/support/requirements.ts alone, and none is focused',
      files: { 'src/base/a.test.ts': "test.skipIf(noTool)('works', () => {});" },
    },
    { rule: 'no any', files: { 'src/base/a.ts': 'export const f = (x: Array<any>) => x;' } },
    { rule: 'no comment silences the type checker', files: { 'src/base/a.ts': '// @ts-expect-error\nf();' } },
  ])('$rule: $files', ({ rule, files }) => {
    expect(RULES[rule]?.(planted(files))).not.toEqual([]);
  });
});

function planted(files: Record<string, string>): Source[] {
  const root = mkdtempSync(join(tmpdir(), 'shellstream-architecture-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return readTree(root, ROOMS);
  } finally {
    rmSync(root, { recursive: true });
  }
}
