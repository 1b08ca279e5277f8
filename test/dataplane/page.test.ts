/** The governance page, read by the C stand-in of a data plane in user space. */
import { mkdtemp, open, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { DATA_PLANE_RULES } from '../../protocol/posture/level-rules.ts';
import { kernelAddon } from '../../src/dataplane/linux/native.ts';
import { openGovernancePage } from '../../src/dataplane/linux/page.ts';
import type { GovernanceState } from '../../src/dataplane/ports.ts';
import { type Running, run, start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

const KERNEL = fileURLToPath(new URL('../../native/kernel/', import.meta.url));
/** Where the words of struct governance_state stand. */
const [SEQUENCE, LEVEL, HEARTBEAT, RULES] = [8, 12, 24, 40];
const STALE_NS = 3_000_000_000n;

describeWith(['root', 'addon kernel'], 'governance page', () => {
  let folder: string;
  let reader: string;
  let pages = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'shellstream-page-'));
    reader = join(folder, 'reader');
    await run('gcc', [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-I',
      `${KERNEL}include`,
      '-o',
      reader,
      `${KERNEL}reader/reader.c`,
    ]);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  function newPath(): string {
    pages += 1;
    return join(folder, `page-${pages}`);
  }

  const read = (path: string): Running => start(reader, [path, '200']);

  test('reads as 1 before the first write, then as what is written, within the poll', async () => {
    const path = newPath();
    const page = openGovernancePage(path);
    await using reading = read(path);
    await reading.line(/^level 1 epoch 0 rules 5 actions 0 0 0 1 latency_ns -1/);
    page.write(at(3, 17n));
    expect(await reading.line(/^level 3/)).toMatch(/^level 3 epoch 17 rules 3 actions [0-7 ]+ latency_ns \d+$/);
    page.write(at(5, 18n));
    await reading.line(/^level 5 epoch 18/);
  });

  test('is a file that all may read and only its owner may write', async () => {
    const path = newPath();
    openGovernancePage(path);
    const { mode, uid, size } = await stat(path);
    expect([mode & 0o777, uid, size]).toEqual([0o644, 0, 4096]);
  });

  test('keeps its inode over restarts, so that readers need not open it again', async () => {
    const path = newPath();
    openGovernancePage(path).write(at(4, 1n));
    await using reading = read(path);
    await reading.line(/^level 4/);
    openGovernancePage(path).write(at(2, 2n));
    await reading.line(/^level 2 epoch 2/);
  });

  test('reads as 1 when the heartbeat is stale, or of a boot to come, and as before after a beat', async () => {
    const path = newPath();
    const page = openGovernancePage(path);
    page.write(at(5, 1n));
    await using reading = read(path);
    await reading.line(/^level 5/);
    await poke(path, HEARTBEAT, long(kernelAddon().bootTimeNs() - STALE_NS - 1n));
    await reading.line(/^level 1/);
    page.beat();
    await lines(reading, /^level 5/, 2);
    await poke(path, HEARTBEAT, long(kernelAddon().bootTimeNs() + 3_600_000_000_000n));
    await lines(reading, /^level 1/, 2);
  });

  test('reads as 1 when a writer died in the middle, and the next writer mends it', async () => {
    const path = newPath();
    const page = openGovernancePage(path);
    page.write(at(5, 1n));
    await using reading = read(path);
    await reading.line(/^level 5/);
    await poke(path, SEQUENCE, word(7));
    await reading.line(/^level 1/);
    page.write(at(4, 2n));
    await reading.line(/^level 4 epoch 2/);
  });

  test('reads as 1 when the level is none', async () => {
    const path = newPath();
    openGovernancePage(path).write(at(5, 1n));
    await using reading = read(path);
    await reading.line(/^level 5/);
    await poke(path, LEVEL, word(9));
    await reading.line(/^level 1/);
  });

  /** Of flows between zones, ordinary, critical and allowlisted ones: 1 forward, 2 classify, 4 background; 0 drop. */
  test.for([
    [5, 'standard', '1 1 1 1'],
    [4, 'deep-classification', '3 3 3 1'],
    [3, 'inter-zone-deprioritised', '7 3 3 1'],
    [2, 'critical-only', '0 0 3 1'],
    [1, 'allowlist-only', '0 0 0 1'],
  ] as const)('at %i tells its reader %s, and what becomes of each class of flow', async ([level, rules, actions]) => {
    const path = newPath();
    openGovernancePage(path).write({ level, epoch: 7n, rules });
    await using reading = read(path);
    await reading.line(new RegExp(`^level ${level} epoch 7 rules ${6 - level} actions ${actions} `));
  });

  test('may ask for more than its level does, as a site’s own accord does', async () => {
    const path = newPath();
    const page = openGovernancePage(path);
    page.write({ level: 5, epoch: 1n, rules: 'critical-only' });
    await using reading = read(path);
    await reading.line(/^level 5 epoch 1 rules 4 actions 0 0 3 1 /);
    page.write({ level: 1, epoch: 2n, rules: 'standard' });
    await reading.line(/^level 1 epoch 2 rules 5 actions 0 0 0 1 /);
  });

  test.for([0, 6])('reads as 1 when the rules are %i, which is none', async (rules) => {
    const path = newPath();
    openGovernancePage(path).write(at(5, 1n));
    await using reading = read(path);
    await reading.line(/^level 5/);
    await poke(path, RULES, word(rules));
    await reading.line(/^level 1 epoch 0 rules 5 actions 0 0 0 1 /);
  });

  test('is refused through a link that somebody planted, and in a place that is none', async () => {
    const target = newPath();
    await writeFile(target, 'precious');
    const link = newPath();
    await symlink(target, link);
    expect(() => openGovernancePage(link)).toThrow(/DATAPLANE_FAILED.*ELOOP/);
    expect(() => openGovernancePage(join(folder, 'nowhere', 'page'))).toThrow(/DATAPLANE_FAILED.*ENOENT/);
  });
});

/** With the rules that the level has of itself. */
function at(level: PostureLevel, epoch: bigint): GovernanceState {
  const [rules] = DATA_PLANE_RULES.slice(5 - level);
  if (rules === undefined) throw new Error(`no rules at ${level}`);
  return { level, epoch, rules };
}

/** Waits for the n-th line that matches. */
async function lines(reading: Running, pattern: RegExp, count: number): Promise<void> {
  await reading.line(pattern);
  const found = (): number =>
    reading
      .sofar()
      .stdout.split('\n')
      .filter((line) => pattern.test(line)).length;
  while (found() < count) await new Promise((resolve) => setImmediate(resolve));
}

async function poke(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, offset);
  await file.close();
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function long(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}
