/** What the disk and the clock do to a gateway that keeps evidence: named, not guessed over; the console works all the while. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describeFinding, parseVerifierKey, verifyLog } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { needs } from '../../test/support/requirements.ts';
import { artifactsIn } from '../../test/support/spool-records.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import type { EvidencePlace, EvidenceState } from '../evidence/evidence-place.ts';
import { consoleUse, transit } from '../evidence/fixtures.ts';
import { LogDirectory } from '../evidence/log-directory.ts';
import { evidenceFindings, evidenceView } from './evidence-desk.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shellstream-evidence-faults-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('a gateway starts on what the disk did to its evidence', () => {
  /** What was done, to which file, and what is said of it. */
  const faults: readonly (readonly [string, (directory: string) => void, RegExp])[] = [
    [
      'flipped bytes in the newest record',
      edits('record = zeroblob(length(record))', 'record IS NOT NULL'),
      /EVIDENCE_FAILED.*the record of entry \d+ is not what the entry commits to/,
    ],
    [
      'flipped bytes in an older record of an open tile',
      edits('entry = zeroblob(33), record = NULL, salt = NULL', 'seq > 512 AND seq < 530'),
      /EVIDENCE_FAILED.*an entry of \d+ to \d+ was changed/,
    ],
    ['a torn spool', tears('spool/evidence.db', 0.5), /EVIDENCE_FAILED.*evidence\.db: its pages are damaged/],
    ['a spool with a flipped first page', flips('spool/evidence.db', 3), /EVIDENCE_FAILED.*evidence\.db: .*damaged/],
    ['an older spool', olderSpool, /EVIDENCE_ROLLED_BACK.*it lost \d+/],
    ['no spool', (directory) => rmSync(join(directory, 'spool'), { recursive: true }), /EVIDENCE_/],
    ['a torn checkpoint', tears('log/checkpoint', 0.4), /EVIDENCE_FAILED.*log\/checkpoint: MALFORMED/],
    ['a checkpoint with a flipped byte', flips('log/checkpoint', 40), /EVIDENCE_FAILED.*log\/checkpoint: /],
    ['a torn tile', tears('log/tile/0/000', 0.5), /EVIDENCE_FAILED.*tile\/0\/000: 4096 bytes instead of 8192/],
    ['a tile with a flipped byte', flips('log/tile/0/000', 40), /EVIDENCE_FAILED.*tile\/0\/000: byte 40, entry 1/],
    [
      'a key that others can read',
      (directory) => void spawnSync('chmod', ['644', join(directory, 'log.key')]),
      /EVIDENCE_FAILED.*log\.key/,
    ],
    ['no key', (directory) => rmSync(join(directory, 'log.key')), /EVIDENCE_FAILED.*log\.key/],
  ];

  test('each is named; no session comes to stand, what is left is not written over, and the console still works', async () => {
    await using sites = await MemorySites.create({ evidenceOf: place });
    const { a, b } = sites;
    const { directory } = place('b');
    await b.start();
    await fill(sites);
    await b.stop();
    cpSync(join(directory, 'spool'), join(folder, 'older'), { recursive: true });
    await b.start();
    await fill(sites);
    await b.stop();
    cpSync(directory, join(folder, 'whole'), { recursive: true });
    await a.start();

    for (const [what, damage, named] of faults) {
      rmSync(directory, { recursive: true });
      cpSync(join(folder, 'whole'), directory, { recursive: true });
      damage(directory);
      const damaged = filesOf(directory);
      await b.start();
      expect(String(evidenceOf(sites).problem), what).toMatch(named);
      const refused = a.log.length;
      a.gateway.mesh.nudge();
      await sites.until('a refusal', () => a.log.slice(refused).some(({ fields }) => saysInternal(fields)), 500);
      expect(b.gateway.directory.size, what).toBe(0);
      expect(evidenceView(b.gateway.evidence), what).toMatchObject({ state: 'failed' });
      expect(evidenceFindings(b.gateway.evidence)[0]?.detail, what).toMatch(named);
      const stated = b.gateway.posture.state('console', 3, 'incident');
      await sites.until('the change', () => b.gateway.posture.level === 3);
      await stated;
      await b.stop();
      expect(Object.entries(damaged).filter(([path, bytes]) => !filesOf(directory)[path]?.equals(bytes))).toEqual([]);
    }
  });

  test('a read-only disk: sessions are refused until it can be written to, and go on by themselves then', async (context) => {
    needs(context, 'root');
    const { directory } = place('b');
    mkdirSync(directory);
    using disk = new OwnDisk(directory);
    await using sites = await MemorySites.create({ evidenceOf: place });
    await sites.b.start();
    await fill(sites);
    await sites.b.stop();
    disk.remount('ro');
    await sites.b.start();
    await sites.a.start();
    expect(evidenceOf(sites).problem).toMatch(/EVIDENCE_FAILED.*evidence\.db: .*read-only/);
    await sites.until('a refusal', () => sites.a.log.some(({ fields }) => saysInternal(fields)));
    expect(sites.b.gateway.directory.size).toBe(0);
    disk.remount('rw');
    await sites.until('a session', () => sites.b.gateway.directory.size === 1, 1_000);
    expect(evidenceOf(sites).problem).toBeUndefined();
    await sites.b.stop();
    await sites.a.stop();
  });
});

describe('the clock of a node is put forward and back', () => {
  test('by hours and over midnight, with a restart: what was recorded is told once and in its order, and the log verifies', async () => {
    await using sites = await MemorySites.create({ evidenceOf: place });
    const { b, clock } = sites;
    await b.start();
    const steps = [5, -9, 26, -3, -26, 49, -48];
    for (const [i, hours] of steps.entries()) {
      await b.gateway.evidence?.store.recordAll([transit(i)]);
      clock.setWall(clock.now() + hours * HOUR_MS);
      await clock.advance(70_000);
      if (i % 3 === 2) {
        await b.stop();
        await b.start();
      } else await b.gateway.evidence?.store.recordAll([transit(i, Phase.OUTCOME)]);
      expect(evidenceOf(sites), `${hours} hours`).toMatchObject({
        problem: undefined,
        publishProblem: undefined,
        openIntents: 0,
      });
    }
    const { verifierKeys } = evidenceOf(sites);
    await b.stop();
    await expectWhole(verifierKeys[0] ?? '');
    const told = [...transitsOf(place('b').directory).values()];
    const ends = steps.map((_, i) => (i % 3 === 2 ? Phase.COMPENSATION : Phase.OUTCOME));
    expect(told).toEqual(ends.map((end) => [Phase.INTENT, end]));
  });
});

const HOUR_MS = 3_600_000;
/** More than a tile's entries. */
const MANY = 270;

function place(name: string): EvidencePlace {
  const directory = join(folder, name);
  const keys = [join(directory, 'log.key')];
  return { directory, origin: `${name}.test/log`, keys, budgetBytes: 64 << 20, retentionDays: 90 };
}

/** Of site-b. */
function evidenceOf({ b }: MemorySites): EvidenceState {
  const { evidence } = b.gateway;
  if (evidence === undefined) throw new Error('site-b keeps no evidence');
  return evidence.store.state;
}

async function fill(sites: MemorySites): Promise<void> {
  const { evidence } = sites.b.gateway;
  await evidence?.store.recordAll(Array.from({ length: MANY }, () => consoleUse));
  await sites.until('the published log', () => evidenceOf(sites).published === evidenceOf(sites).entries, 500);
}

function saysInternal(fields: object): boolean {
  return JSON.stringify(fields).includes('INTERNAL');
}

function edits(change: string, where: string): (directory: string) => void {
  return (directory) => {
    using database = new DatabaseSync(join(directory, 'spool', 'evidence.db'));
    database.exec(
      `UPDATE entry SET ${change} WHERE seq IN (SELECT seq FROM entry WHERE ${where} ORDER BY seq DESC LIMIT 1)`,
    );
  };
}

function tears(path: string, keep: number): (directory: string) => void {
  return (directory) => {
    const file = join(directory, path);
    truncateSync(file, Math.floor(readFileSync(file).length * keep));
  };
}

function flips(path: string, at: number): (directory: string) => void {
  return (directory) => {
    const file = join(directory, path);
    const bytes = readFileSync(file);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(file, bytes);
  };
}

function olderSpool(directory: string): void {
  rmSync(join(directory, 'spool'), { recursive: true });
  cpSync(join(folder, 'older'), join(directory, 'spool'), { recursive: true });
}

/** What outsiders read; the spool's own file is SQLite's to tidy. */
function filesOf(directory: string): Record<string, Buffer> {
  const log = join(directory, 'log');
  const found = readdirSync(log, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    found.map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name))]),
  );
}

async function expectWhole(key: string): Promise<void> {
  const { sha256 } = nodeCrypto;
  const trust = { origin: place('b').origin, keys: [parseVerifierKey(sha256, key)], witnesses: [] };
  const source = new LogDirectory(join(place('b').directory, 'log'));
  const { findings } = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust });
  expect(findings.map(describeFinding)).toEqual([]);
}

/** Phases of each session, in the order of its transits. */
function transitsOf(directory: string): ReadonlyMap<string, readonly Phase[]> {
  const transits = artifactsIn(join(directory, 'spool', 'evidence.db'))
    .flatMap(({ body }) => (body.case === 'sessionTransit' ? [body.value] : []))
    .sort((one, other) => Number(one.transit - other.transit));
  const phases = new Map<string, Phase[]>();
  for (const { sessionId, phase } of transits) {
    const id = Buffer.from(sessionId).toString('hex');
    phases.set(id, [...(phases.get(id) ?? []), phase]);
  }
  return phases;
}

/** A file system of its own. */
class OwnDisk implements Disposable {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.#mount('-t', 'tmpfs', '-o', `size=${64 << 20},mode=0700`, 'shellstream-test');
  }

  remount(option: string): void {
    this.#mount('-o', `remount,${option}`);
  }

  [Symbol.dispose](): void {
    spawnSync('umount', ['-l', this.#path]);
  }

  #mount(...options: readonly string[]): void {
    const { status, stderr } = spawnSync('mount', [...options, this.#path], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`mount: ${stderr}`);
  }
}
