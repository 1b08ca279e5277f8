import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { effectiveLevel, type PostureLevel } from '../../protocol/posture/index.ts';
import { turnEnded } from '../base/clock.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { PostureEngine } from './engine.ts';
import { formatRecord, type JournalRecord, openPostureJournal, readJournal } from './journal.ts';
import type { KeptPosture } from './kept.ts';
import type { PostureSteps } from './plan.ts';
import { openPostureStore } from './store.ts';

const { sha256 } = nodeCrypto;
const FILE = 'posture.journal';
const PLACE = { bootId: 'boot', sha256 };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-journal-'));
});
afterEach(() => rm(folder, { recursive: true }));

const said = (level: PostureLevel, epoch = 7n): KeptPosture => ({
  statements: new Map([['console', { statement: { source: 'console', level, epoch, reason: 'test' } }]]),
  epoch,
});
const intent = (from: PostureLevel, to: PostureLevel): JournalRecord => ({ kind: 'intent', from, to, kept: said(to) });
const settled = (level: PostureLevel): JournalRecord => ({ kind: 'settled', epoch: 7n, level, failed: false });
const taken: JournalRecord = { kind: 'step', epoch: 7n, step: 'posture map', outcome: 'taken' };
const text = (...records: JournalRecord[]): string => records.map((record) => formatRecord(record, sha256)).join('');

describe('a journal', () => {
  it('reads what it wrote', async () => {
    const records = [intent(5, 1), taken, settled(1)];
    const { journal } = await openPostureJournal(folder, sha256);
    for (const record of records) await journal.write(record);
    const read = readJournal(await readFile(join(folder, FILE), 'latin1'), sha256);
    expect(read).toEqual({ records, isWhole: true, problem: undefined });
  });

  it('cut off at any byte is what came before, and says so', () => {
    const whole = text(intent(5, 3), settled(3), intent(3, 1));
    const ends = [...whole.matchAll(/\n/g)].map(({ index }) => index + 1);
    for (let length = 0; length < whole.length; length += 1) {
      const { records, isWhole, problem } = readJournal(whole.slice(0, length), sha256);
      // The line feed behind a record may be missing.
      const before = ends.filter((end) => end - 1 <= length).length;
      expect([records.length, isWhole]).toEqual([before, true]);
      const atEnd = length === 0 || ends.includes(length);
      expect(problem === undefined).toBe(atEnd);
    }
  });

  it('with a bit that fell over in it is not believed from there on, wherever it is', () => {
    const whole = text(intent(5, 1), taken, settled(1));
    for (let at = 0; at < whole.length; at += 3) {
      const bytes = Buffer.from(whole, 'latin1');
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      const { isWhole, problem } = readJournal(bytes.toString('latin1'), sha256);
      expect([isWhole, problem]).not.toEqual([true, undefined]);
    }
  });

  it('goes on behind a record that was cut off, without it', async () => {
    await writeFile(join(folder, FILE), text(intent(5, 3), settled(3)) + text(intent(3, 1)).slice(0, 40));
    const { journal } = await openPostureJournal(folder, sha256);
    await journal.write(intent(3, 2));
    const { records, problem } = readJournal(await readFile(join(folder, FILE), 'latin1'), sha256);
    expect([records.length, problem]).toEqual([3, undefined]);
  });

  it('reads a reason in any language, and one that is too long', async () => {
    const kept = said(2);
    const statement = { source: 'console', level: 1, epoch: 8n, reason: `Übung 演習 ${'…'.repeat(2_000)}` } as const;
    const { journal } = await openPostureJournal(folder, sha256);
    await journal.write({
      kind: 'intent',
      from: 5,
      to: 1,
      kept: { ...kept, statements: new Map([['console', { statement }]]) },
    });
    await journal.write(settled(1));
    const { read } = await openPostureJournal(folder, sha256);
    expect([read.records.length, read.problem]).toEqual([2, undefined]);
  });

  it('of ten thousand changes stays small, and keeps the last of them', async () => {
    const { journal } = await openPostureJournal(folder, sha256);
    await journal.write(intent(5, 3));
    for (let n = 0; n < 2_000; n += 1) void journal.write(taken);
    await journal.write(settled(3));
    const text = await readFile(join(folder, FILE), 'utf8');
    expect(text.length).toBeLessThan(1_000);
    expect(readJournal(text, sha256).records).toEqual([intent(5, 3), settled(3)]);
  });

  it('that could not be written for a while goes on with what it should hold', async () => {
    const gone = join(folder, 'gone');
    const { journal } = await openPostureJournal(gone, sha256);
    await expect(journal.write(intent(5, 1))).rejects.toThrow();
    await mkdir(gone);
    await journal.write(taken);
    const { read } = await openPostureJournal(gone, sha256);
    expect(read.records).toEqual([intent(5, 1), taken]);
  });
});

describe('a crash', () => {
  const levelOf = async (at = folder): Promise<PostureLevel | undefined> => {
    const { kept } = await openPostureStore({ folder: at, ...PLACE }, 0);
    return kept === undefined ? undefined : effectiveLevel(kept.statements, 0).level;
  };

  it('after the intent and before the statement was kept: the level that was on its way holds', async () => {
    await writeFile(join(folder, FILE), text(intent(5, 3), settled(3), intent(3, 1), taken));
    expect(await levelOf()).toBe(1);
  });

  it('after all was settled and before the statement was kept, too', async () => {
    await writeFile(join(folder, FILE), text(intent(5, 1), taken, settled(1)));
    expect(await levelOf()).toBe(1);
  });

  it('in a relaxing: the next run takes everything at the stricter level once, and opens from there', async () => {
    await writeFile(join(folder, FILE), text(intent(1, 5)));
    const told: string[] = [];
    const engine = new PostureEngine({
      clock: new SimulatedClock(),
      log: silentLogger,
      initial: 5,
      firstEpoch: 1n,
      ...(await openPostureStore({ folder, ...PLACE }, 0)),
    });
    expect(engine.level).toBe(1);
    await engine.state('timer', 4, 'spoke before the start');
    expect(engine.level).toBe(1);
    const step = (name: string) => ({ name, apply: (level: PostureLevel) => void told.push(`${name} ${level}`) });
    await engine.start({ dataPlane: [step('map')], admission: step('admission'), sessionLayer: [] });
    expect(told).toEqual(['map 1', 'admission 1', 'admission 4', 'map 4']);
  });

  it('that tore the journal in the middle may have lost a lockdown: level 2 until it is set aside', async () => {
    const damaged = text(intent(5, 1)).replace('"to":1', '"to":5');
    await writeFile(join(folder, FILE), damaged + text(settled(5)));
    const { kept, problem } = await openPostureStore({ folder, ...PLACE }, 0);
    expect([kept?.statements.get('record')?.statement.level, problem]).toEqual([
      2,
      'record 1 of the journal: it is damaged',
    ]);
    // The next run writes a journal that can be read, and dies before anything was said.
    const engine = new PostureEngine({
      clock: new SimulatedClock(),
      log: silentLogger,
      initial: 5,
      firstEpoch: 1n,
      ...(await openPostureStore({ folder, ...PLACE }, 0)),
    });
    await engine.start(stepsWith(() => undefined));
    expect(await levelOf()).toBe(2);
  });

  it('and a journal that cannot be read at all: level 2 until it is set aside, and the rest is read', async () => {
    await mkdir(join(folder, FILE));
    const { kept, problem } = await openPostureStore({ folder, ...PLACE }, 0);
    expect(problem).toMatch(/^the journal cannot be read: EISDIR/);
    expect(kept?.statements.get('record')?.statement.level).toBe(2);
  });

  it('attack: in the middle of the first write after a damage leaves no whole journal without the lockdown that was lost', async () => {
    await writeFile(
      join(folder, FILE),
      text(intent(5, 3)) + text(intent(3, 1)).replace('"to":1', '"to":5') + text(settled(1)),
    );
    const { journal, read } = await openPostureJournal(folder, sha256);
    expect([read.records.length, read.isWhole]).toEqual([1, false]);
    const written = journal.write(intent(2, 2));
    let isOver = false;
    void written.then(() => {
      isOver = true;
    });
    // As it is at each moment on the way: damaged still, or with the new intent.
    while (!isOver) {
      const seen = readJournal(readFileSync(join(folder, FILE), 'utf8'), sha256);
      if (seen.isWhole) expect(seen.records.at(-1)).toEqual(intent(2, 2));
      await turnEnded();
    }
    expect((await openPostureJournal(folder, sha256)).read.records).toEqual([intent(5, 3), intent(2, 2)]);
  });

  it('at every record of a tightening: the next run is at the level that the kernel was told last, or a stricter one', async () => {
    for (let at = 0; at <= 13; at += 1) {
      const lines: string[] = [];
      let told: PostureLevel = 5;
      const isAlive = (): boolean => lines.length < at;
      // To a process that is killed nothing is answered any more.
      const dead = new Promise<never>(() => undefined);
      const engine = new PostureEngine({
        clock: new SimulatedClock(),
        log: silentLogger,
        initial: 5,
        firstEpoch: 1n,
        store: { save: () => dead },
        journal: {
          write(record) {
            if (!isAlive()) return dead;
            lines.push(formatRecord(record, sha256));
            return isAlive() ? Promise.resolve() : dead;
          },
        },
      });
      const apply = (level: PostureLevel): void => {
        if (isAlive()) told = level;
      };
      void engine.start(stepsWith(apply));
      void engine.state('console', 1, 'test');
      await turns();
      const place = { folder: await mkdtemp(join(folder, 'at-')), ...PLACE };
      await writeFile(join(place.folder, FILE), lines.join(''));
      const { kept } = await openPostureStore(place, 0);
      expect(kept?.statements.get('console')?.statement.level ?? 5).toBeLessThanOrEqual(told);
    }
  });
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await turnEnded();
}

function stepsWith(apply: (level: PostureLevel) => void): PostureSteps {
  const step = (name: string) => ({ name, apply });
  return { dataPlane: [step('page'), step('map')], admission: step('admission'), sessionLayer: [step('sessions')] };
}
