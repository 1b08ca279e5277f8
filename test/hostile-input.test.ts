/** docs/hostile-input.md names tests; here it is held to them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const ROOT = new URL('../', import.meta.url);
const DOCUMENT = text('docs/hostile-input.md');
const rows = DOCUMENT.split('\n').filter((line) => line.startsWith('| ') && line.includes('›'));

describe('docs/hostile-input.md', () => {
  test('has a row for each attack, with what answers it and a test', () => {
    expect(rows.length).toBeGreaterThan(45);
    for (const row of rows) {
      const [attack, answer, proof] = cellsOf(row);
      expect(
        [attack, answer].every((cell) => (cell ?? '').length > 3),
        row,
      ).toBe(true);
      expect(proofsOf(proof ?? '').length, row).toBeGreaterThan(0);
    }
  });

  test('names no test that is not there', () => {
    const named = rows.flatMap((row) => proofsOf(cellsOf(row)[2] ?? ''));
    expect(named.length).toBeGreaterThan(90);
    const missing = named.filter(({ file, name }) => !existsSync(new URL(file, ROOT)) || !text(file).includes(name));
    expect(missing).toEqual([]);
  });

  test('takes nothing for a name that is not between “›” and the next one', () => {
    expect(proofsOf('`a.test.ts` › one; `b.test.ts` › two, three')).toEqual([
      { file: 'a.test.ts', name: 'one' },
      { file: 'b.test.ts', name: 'two, three' },
    ]);
  });
});

describe('vectors of others', () => {
  test.each([
    ['x509-svid', '.pem', ['src/identity/x509-svid.test.ts']],
    [
      'wycheproof',
      '.json',
      [
        'src/base/crypto-vectors.test.ts',
        'src/base/p256.test.ts',
        'src/identity/jwt-svid.test.ts',
        'src/identity/wycheproof.test.ts',
      ],
    ],
    ['noise', '.json', ['protocol/noise/vectors.test.ts']],
  ])('of %s have an origin and a licence, and each of them is read by a test', (folder, ending, tests) => {
    const files = readdirSync(new URL(`protocol/vectors/${folder}`, ROOT));
    expect(text(`protocol/vectors/${folder}/README.md`)).toMatch(/licen[cs]e|public domain/i);
    const vectors = files.filter((name) => name.endsWith(ending));
    expect(vectors.length).toBeGreaterThan(0);
    const read = tests.map(text).join('');
    const name = (file: string): string => (ending === '.pem' ? file.slice(0, -ending.length) : file);
    expect(vectors.filter((file) => !read.includes(name(file)))).toEqual([]);
  });
});

interface Proof {
  readonly file: string;
  readonly name: string;
}

function cellsOf(row: string): readonly string[] {
  return row
    .slice(1, -1)
    .split('|')
    .map((cell) => cell.trim());
}

function proofsOf(cell: string): readonly Proof[] {
  return cell.split('; `').flatMap((proof) => {
    const match = /^`?([^`]+)` › (.+)$/.exec(proof.trim());
    return match?.[1] === undefined || match[2] === undefined ? [] : [{ file: match[1], name: match[2] }];
  });
}

function text(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}
