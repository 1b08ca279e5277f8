import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ShellstreamError } from '../errors.ts';
import { encodeBundle, parseBundle } from './bundle.ts';
import { memoryLog, numberedEntries, sha256 } from './fixtures.ts';
import { leafHash, rootOf } from './merkle.ts';
import { includes, isConsistent, proveConsistency, proveInclusion } from './proof.ts';
import { bundlePath, levelsOf, parseTilePath, subtreesOf, tilePath, tilesAt } from './tile.ts';
import { TileBuilder } from './tile-builder.ts';

describe('the layout of c2sp.org/tlog-tiles', () => {
  it('cuts a tree of 70,000 as the specification says', () => {
    expect([0, 1, 2, 3].map((level) => tilesAt(level, 70_000))).toEqual([
      { full: 273, partial: 112 },
      { full: 1, partial: 17 },
      { full: 0, partial: 1 },
      { full: 0, partial: 0 },
    ]);
    expect([tilesAt(0, 256), tilesAt(1, 256)]).toEqual([
      { full: 1, partial: 0 },
      { full: 0, partial: 1 },
    ]);
    expect([0, 1, 256, 257, 70_000].map(levelsOf)).toEqual([0, 1, 2, 2, 3]);
  });

  it('names tiles as the specification says', () => {
    expect(tilePath({ level: 0, index: 1_234_067, width: 256 })).toBe('tile/0/x001/x234/067');
    expect(tilePath({ level: 2, index: 0, width: 17 })).toBe('tile/2/000.p/17');
    expect(bundlePath({ index: 1000, width: 1 })).toBe('tile/entries/x001/000.p/1');
  });

  it('reads every name back, and no other spelling of it', () => {
    fc.assert(
      fc.property(fc.nat(63), fc.maxSafeNat(), fc.integer({ min: 1, max: 256 }), (level, index, width) => {
        expect(parseTilePath(tilePath({ level, index, width }))).toEqual({ kind: 'tile', level, index, width });
        expect(parseTilePath(bundlePath({ index, width }))).toEqual({ kind: 'entries', index, width });
      }),
    );
  });

  it.each([
    'tile/64/000',
    'tile/00/000',
    'tile/0/0',
    'tile/0/0000',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000/',
    'tile/0/../../etc/passwd',
    'tile/entries/x999/x999/x999/x999/x999/x999',
    '/tile/0/000',
    'tile/-1/000',
    'checkpoint',
    '',
    `tile/0/${'x001/'.repeat(1000)}000`,
  ])('has no file %s', (path) => {
    expect(parseTilePath(path)).toBeUndefined();
  });
});

describe('files of a growing log', () => {
  it('are the same however it grew', () => {
    const entries = numberedEntries(600);
    const whole = memoryLog(entries);
    for (const cut of [1, 255, 256, 257, 511, 512, 599]) {
      const first = new TileBuilder(sha256);
      for (const entry of entries.slice(0, cut)) first.append(entry, leafHash(sha256, entry));
      const rows = [0, 1].map((level) => rowOf(entries, cut, level));
      const from = { size: cut, entries: entries.slice(cut - (cut % 256), cut), rows };
      const second = new TileBuilder(sha256, from);
      for (const entry of entries.slice(cut)) second.append(entry, leafHash(sha256, entry));
      const files = [...first.takeFull(), ...second.takeFull(), ...second.partials()];
      expect(new Set(files.map(({ path }) => path)).size).toBe(files.length);
      for (const { path, bytes } of files) expect(bytes, `${path} after ${cut}`).toEqual(whole.files.get(path));
      expect(files.length).toBe(whole.files.size - 1);
    }
  });

  it('go on from nothing but what the tree of that size has left over', () => {
    for (const from of [
      { size: 1, entries: [], rows: [] },
      { size: 256, entries: [], rows: [[]] },
      { size: 0, entries: [], rows: [[new Uint8Array(32)]] },
    ]) {
      expect(() => new TileBuilder(sha256, from)).toThrow(ShellstreamError);
    }
  });

  it('prove inclusion and consistency across tiles', async () => {
    const entries = numberedEntries(700);
    const leaves = entries.map((entry) => leafHash(sha256, entry));
    const log = memoryLog(entries);
    const read = subtreesOf(sha256, 700, (tile) => log.tile(tile));
    const root = rootOf(sha256, leaves);
    for (const index of [0, 1, 255, 256, 511, 512, 698, 699]) {
      const proof = await proveInclusion(sha256, read, index, 700);
      expect(includes(sha256, proof, leaves[index] ?? root, index, 700, root)).toBe(true);
    }
    for (const old of [1, 255, 256, 257, 512, 699, 700]) {
      const proof = await proveConsistency(sha256, read, old, 700);
      expect(isConsistent(sha256, proof, old, rootOf(sha256, leaves.slice(0, old)), 700, root)).toBe(true);
    }
  });
});

describe('an entry bundle', () => {
  it('is read as it is written', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 256 }), (entries) => {
        expect(parseBundle(encodeBundle(entries), entries.length)).toEqual(entries);
      }),
    );
  });

  it('that ends too soon names the entry, one that goes on its first byte too many', () => {
    const bytes = encodeBundle(numberedEntries(3));
    expect(fieldsOf(() => parseBundle(bytes.subarray(0, -1), 3))).toEqual({ entry: 2, offset: 70 });
    expect(fieldsOf(() => parseBundle(bytes.subarray(0, 71), 3))).toEqual({ entry: 2, offset: 70 });
    expect(fieldsOf(() => parseBundle(bytes, 2))).toEqual({ entry: 2, offset: 70 });
    expect(fieldsOf(() => parseBundle(bytes, 4))).toEqual({ entry: 3, offset: 105 });
  });
});

function fieldsOf(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error instanceof ShellstreamError ? error.fields : error;
  }
}

function rowOf(entries: readonly Uint8Array[], size: number, level: number): Uint8Array[] {
  const span = 256 ** level;
  const count = Math.floor(size / span);
  return Array.from({ length: count % 256 }, (_, i) => {
    const at = (count - (count % 256) + i) * span;
    return rootOf(
      sha256,
      entries.slice(at, at + span).map((entry) => leafHash(sha256, entry)),
    );
  });
}
