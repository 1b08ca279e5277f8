import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const ROOT = new URL('../', import.meta.url);
const TABLE = readFileSync(new URL('docs/requirements.md', ROOT), 'utf8');

/** How many requirements each group has. */
const GROUPS: Readonly<Record<string, number>> = { S: 7, P: 17, N: 10, T: 6, I: 4, U: 3, O: 5, X: 6 };

interface Row {
  readonly id: string;
  readonly what: string;
  readonly livesIn: readonly string[];
  readonly provedBy: readonly string[];
  readonly state: string;
}

describe('docs/requirements.md', () => {
  const rows = rowsOf(TABLE);

  test('has one row for each requirement, in order', () => {
    const ids = Object.entries(GROUPS).flatMap(([group, count]) =>
      Array.from({ length: count }, (_, at) => `${group}${at + 1}`),
    );
    expect(rows.map((row) => row.id)).toEqual(ids);
  });

  test('names no path that is not there', () => {
    const named = rows.flatMap((row) => [...row.livesIn, ...row.provedBy]);
    expect(named.length).toBeGreaterThan(40);
    expect(named.filter((path) => !existsSync(new URL(path, ROOT)))).toEqual([]);
  });

  test('says of each what it is and how far it is', () => {
    expect(rows.filter((row) => row.what === '').map((row) => row.id)).toEqual([]);
    expect(rows.filter((row) => !/^(done|open|in part: .+)$/.test(row.state)).map((row) => row.id)).toEqual([]);
  });

  test('calls nothing done that no test proves', () => {
    const unproved = rows.filter((row) => row.state === 'done' && !row.provedBy.some((path) => /test/.test(path)));
    expect(unproved.map((row) => row.id)).toEqual([]);
  });

  test('calls nothing open that lives somewhere already', () => {
    expect(rows.filter((row) => row.state === 'open' && row.livesIn.length > 0).map((row) => row.id)).toEqual([]);
  });
});

function rowsOf(text: string): readonly Row[] {
  return text
    .split('\n')
    .filter((line) => /^\| [A-Z][0-9]+ \|/.test(line))
    .map((line) => {
      const [id = '', what = '', livesIn = '', provedBy = '', state = ''] = line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim());
      return { id, what, livesIn: pathsOf(livesIn), provedBy: pathsOf(provedBy), state };
    });
}

function pathsOf(cell: string): readonly string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, path = '']) => path);
}
