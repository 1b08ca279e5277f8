import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { openCheckpoint, parseEntry } from '../../protocol/evidence/index.ts';
import { needs } from '../../test/support/requirements.ts';
import { nodeEd25519 } from './ed25519.ts';
import { EvidenceFolder, LOG_KEY, NEXT_KEY, ORIGIN, rawRecord } from './fixtures.ts';
import type { Spool } from './spool.ts';
import type { SpoolItem } from './spool-items.ts';

const TRUST = { origin: ORIGIN, keys: [LOG_KEY], witnesses: [] };

describe('a spool', () => {
  test('numbers records as the log does, over its restarts, under a signed checkpoint', () => {
    using folder = new EvidenceFolder();
    for (let run = 0; run < 3; run += 1) {
      using spool = folder.spool();
      expect(spool.size).toBe(run * 2);
      const places = spool.append([rawRecord(`a${run}`), rawRecord(`b${run}`)]);
      expect(places).toEqual([
        { in: 'log', at: run * 2 },
        { in: 'log', at: run * 2 + 1 },
      ]);
      expect(openCheckpoint(nodeEd25519, spool.checkpoint, TRUST)).toMatchObject({
        size: run * 2 + 2,
        signedBy: [ORIGIN],
      });
      expect(spool.reader.entries(0, 100).map(({ index }) => index)).toEqual([...Array(run * 2 + 2).keys()]);
    }
  });

  test.each([1, 7, 8, 9, 16, 100])('keeps %d records of one batch, logged and left out, each in its place', (count) => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const logged = Array.from({ length: count }, (_, i) => rawRecord(`logged ${i}`));
    const leftOut = Array.from({ length: count }, (_, i): SpoolItem => {
      return { to: 'left-out', record: new TextEncoder().encode(`left out ${i}`), day: 1, level: 5 };
    });
    spool.append(logged.flatMap((item, i) => [item, leftOut[i] ?? item]));
    const textOf = (row: { opening?: { record: Uint8Array } | undefined }) =>
      Buffer.from(row.opening?.record ?? []).toString();
    expect(spool.reader.entries(0, 999).map(textOf)).toEqual(logged.map((_, i) => `logged ${i}`));
    expect(spool.reader.leftOut(0, 999).map(textOf)).toEqual(logged.map((_, i) => `left out ${i}`));
  });

  test('what was put and taken back is not written with the next batch', () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const refuse = () => {
      throw new ShellstreamError('EVIDENCE_FULL', 'a refusal on the way');
    };
    expect(() =>
      spool.forget((rows) => {
        rows.putRecord(5, { to: 'log', record: Uint8Array.of(8, 1), kind: 1, level: 3 }, new Uint8Array(16));
        rows.putLeftOut(5, { to: 'left-out', record: Uint8Array.of(8, 1), day: 1, level: 5 }, new Uint8Array(16));
        refuse();
      }),
    ).toThrow('a refusal on the way');
    spool.append([rawRecord('next')]);
    expect(spool.reader.entries(0, 9).map(({ index }) => index)).toEqual([0]);
    expect(spool.reader.leftOut(0, 9)).toEqual([]);
  });

  test('salts equal records differently: an outsider cannot tell that they are equal', () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    spool.append([rawRecord('same'), rawRecord('same')]);
    const [one, other] = spool.reader.entries(0, 2).map(({ entry }) => parseEntry(entry));
    expect(one).not.toEqual(other);
  });

  test('is for its user alone', () => {
    using folder = new EvidenceFolder();
    using _spool = folder.spool();
    expect(statSync(folder.spoolPath).mode & 0o077).toBe(0);
    expect(statSync(dirname(folder.spoolPath)).mode & 0o077).toBe(0);
  });

  test('has one owner: a second process gets nothing', () => {
    using folder = new EvidenceFolder();
    using _spool = folder.spool();
    expect(reasonFrom(() => folder.spool())).toBe('EVIDENCE_FAILED');
  });

  test('of a later version is left alone', () => {
    using folder = new EvidenceFolder();
    folder.spool()[Symbol.dispose]();
    edit(folder, 'PRAGMA user_version = 99');
    expect(messageFrom(() => folder.spool())).toContain('of version 99');
  });

  test('is opened by the new key while the old one still signs, and not by a stranger’s', () => {
    using folder = new EvidenceFolder();
    for (const signers of [[LOG_KEY], [LOG_KEY, NEXT_KEY], [NEXT_KEY]]) {
      using spool = folder.spool({ signers });
      spool.append([rawRecord('x')]);
    }
    expect(messageFrom(() => folder.spool())).toContain('no known key signed it');
  });
});

describe('damage is named', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['a flipped record', "UPDATE entry SET record = 'z' || substr(record, 2) WHERE seq = 2", 'the record of entry 2'],
    ['a flipped salt', 'UPDATE entry SET salt = zeroblob(16) WHERE seq = 1', 'the record of entry 1'],
    [
      'an entry that was exchanged',
      "UPDATE entry SET entry = CAST(x'01' || zeroblob(32) AS BLOB), record = NULL, salt = NULL WHERE seq = 2",
      'an entry of 2 to 2',
    ],
    ['an entry taken out', 'DELETE FROM entry WHERE seq = 0', 'an entry of 0 to 1'],
    ['the last entry taken out', 'DELETE FROM entry WHERE seq = 2', 'its last one is 1'],
    ['a frontier that was exchanged', 'UPDATE tree SET frontier = zeroblob(64)', 'was changed'],
    ['a torn frontier', 'UPDATE tree SET frontier = substr(frontier, 1, 50)', 'frontier is torn'],
    ['a size put back', 'UPDATE tree SET size = 2', 'its tree has 2 entries'],
    ['another checkpoint', "UPDATE tree SET checkpoint = CAST('nothing' AS BLOB)", 'its checkpoint: MALFORMED'],
  ];
  test.each(cases)('%s', (_, sql, named) => {
    using folder = new EvidenceFolder();
    write(folder, 3);
    edit(folder, sql.replace("'z' || substr(record, 2)", "CAST('z' || substr(record, 2) AS BLOB)"));
    expect(reasonFrom(() => folder.spool())).toBe('EVIDENCE_FAILED');
    expect(messageFrom(() => folder.spool())).toContain(named);
  });

  test('a whole record and its entry exchanged together, with the frontier: the checkpoint is not of it', () => {
    using folder = new EvidenceFolder();
    using other = new EvidenceFolder();
    write(folder, 3);
    write(other, 3);
    edit(
      folder,
      `ATTACH '${other.spoolPath}' AS o; DELETE FROM entry; INSERT INTO entry SELECT * FROM o.entry; UPDATE tree SET frontier = (SELECT frontier FROM o.tree)`,
    );
    expect(messageFrom(() => folder.spool())).toContain('its tree is not the one it signed');
  });

  test('bytes flipped in the file itself, page by page: refused and named, or not touched by them', () => {
    using folder = new EvidenceFolder();
    write(folder, 40);
    const whole = readFileSync(folder.spoolPath);
    let refused = 0;
    for (let at = 20; at < whole.length; at += 997) {
      writeFileSync(folder.spoolPath, whole);
      const file = openSync(folder.spoolPath, 'r+');
      writeSync(file, Uint8Array.of((whole[at] ?? 0) ^ 0x10), 0, 1, at);
      closeSync(file);
      try {
        using spool = folder.spool();
        expect(
          spool.reader
            .entries(0, 40)
            .map(({ entry }) => Buffer.from(entry).toString('hex'))
            .join(),
        ).toHaveLength(40 * 67 - 1);
      } catch (error) {
        refused += 1;
        expect(reasonOf(error), `byte ${at}`).toBe('EVIDENCE_FAILED');
      }
      for (const suffix of ['-wal', '-shm']) rmSync(`${folder.spoolPath}${suffix}`, { force: true });
    }
    expect(refused).toBeGreaterThan(3);
  });

  test('a file that is no database', () => {
    using folder = new EvidenceFolder();
    mkdirSync(dirname(folder.spoolPath));
    writeFileSync(folder.spoolPath, 'x'.repeat(8_192));
    expect(messageFrom(() => folder.spool())).toContain('no database');
  });
});

describe('when there is no room', () => {
  test('ordinary evidence is refused at its budget, what may not be refused is not, and status says so before', () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool({ budgetBytes: 400_000, reserveBytes: 100_000 });
    expect(spool.room).toMatchObject({ isFull: false, isReserveHeld: true, budgetBytes: 400_000 });
    const size = fillUp(spool);
    expect(spool.room.isFull).toBe(true);
    expect(spool.size).toBe(size);
    expect(spool.append([rawRecord('console')], {}, true)).toEqual([{ in: 'log', at: size }]);
    expect(() => {
      for (;;) spool.append([rawRecord('c'.repeat(10_000))], {}, true);
    }).toThrow('EVIDENCE_FULL');
  });

  test('a full disk refuses ordinary evidence; the console has the reserve; afterwards it goes on', (context) => {
    needs(context, 'root');
    using disk = new SmallDisk(4 << 20);
    using folder = new EvidenceFolder();
    const path = `${disk.path}/evidence.db`;
    {
      using spool = folder.spool({ path, reserveBytes: 1 << 20 });
      const size = fillUp(spool);
      expect(spool.room.isReserveHeld).toBe(true);
      for (let i = 0; i < 50; i += 1) spool.append([rawRecord(`console ${i}`)], {}, true);
      expect(spool.size).toBe(size + 50);
      expect(spool.room.isReserveHeld).toBe(false);
    }
    using spool = folder.spool({ path, reserveBytes: 1 << 20 });
    expect(spool.reader.entries(spool.size - 1, spool.size)[0]?.opening?.record).toEqual(
      new TextEncoder().encode('console 49'),
    );
  });

  test('a read-only file is named', (context) => {
    needs(context, 'root');
    using folder = new EvidenceFolder();
    write(folder, 1);
    using disk = new SmallDisk(4 << 20);
    spawnSync('cp', [folder.spoolPath, `${disk.path}/evidence.db`]);
    chmodSync(`${disk.path}/evidence.db`, 0o600);
    disk.remount('ro');
    expect(reasonFrom(() => folder.spool({ path: `${disk.path}/evidence.db` }))).toBe('EVIDENCE_FAILED');
  });
});

/** A file system of its own, small. */
class SmallDisk implements Disposable {
  readonly path: string;
  readonly #folder = new EvidenceFolder();

  constructor(bytes: number) {
    this.path = `${this.#folder.path}/disk`;
    mkdirSync(this.path);
    mount(['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'shellstream-test', this.path]);
  }

  remount(option: string): void {
    mount(['-o', `remount,${option}`, this.path]);
  }

  [Symbol.dispose](): void {
    spawnSync('umount', ['-l', this.path]);
    this.#folder[Symbol.dispose]();
  }
}

function mount(args: readonly string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

function fillUp(spool: Spool): number {
  let size = spool.size;
  expect(() => {
    for (;;) {
      spool.append(Array.from({ length: 16 }, (_, i) => rawRecord(`${i}${'x'.repeat(1_000)}`)));
      size = spool.size;
    }
  }).toThrow('EVIDENCE_FULL');
  return size;
}

function write(folder: EvidenceFolder, count: number): void {
  using spool = folder.spool();
  spool.append(Array.from({ length: count }, (_, i) => rawRecord(`record ${i}`)));
}

function edit(folder: EvidenceFolder, sql: string): void {
  const database = new DatabaseSync(folder.spoolPath);
  database.exec(sql);
  database.close();
  expect(existsSync(folder.spoolPath)).toBe(true);
}

function reasonFrom(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function messageFrom(action: () => unknown): string {
  try {
    action();
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
