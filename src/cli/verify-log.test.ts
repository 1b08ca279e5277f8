import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOG_KEY, memoryLog, numberedEntries, ORIGIN, WITNESS } from '../../protocol/evidence/fixtures.ts';
import { formatVerifierKey } from '../../protocol/evidence/note-key.ts';
import { temporaryFolder } from '../control/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

const KEY = formatVerifierKey(LOG_KEY);
const WITNESS_KEY = formatVerifierKey(WITNESS);
let place: Awaited<ReturnType<typeof temporaryFolder>>;
let folder: string;

beforeAll(async () => {
  place = await temporaryFolder();
  folder = place.path;
  await write('now', 600);
  await write('before', 300);
});
afterAll(() => place[Symbol.asyncDispose]());

describe('verify-log', () => {
  it('says of an honest log that it is one, with its witness and what was kept from earlier', async () => {
    const held = join(folder, 'before', 'checkpoint');
    const ran = await run('now', '--witness', WITNESS_KEY, '--quorum', '1', '--held', held);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(/^size +600 entries, 600 of them read and checked\nroot +[0-9a-f]{64}\nsigned by +\S/);
    expect(ran.out).toMatch(/all of it is as it must be\n$/);
  });

  it('attack: the owner rewrites an entry: named by file, exit code 1', async () => {
    await write('rewritten', 600, (entries) => {
      entries[42] = numberedEntries(44)[43] ?? new Uint8Array();
    });
    const ran = await run('rewritten', '--held', join(folder, 'now', 'checkpoint'), '--json');
    expect(ran.code).toBe(1);
    expect(JSON.parse(ran.out).findings.join()).toMatch(/held checkpoint of 600 entries/);
  });

  it('attack: the owner cuts off the end: what is held says so', async () => {
    const ran = await run('before', '--held', join(folder, 'now', 'checkpoint'));
    expect(ran.code).toBe(1);
    expect(ran.out).toMatch(/^FOUND {2}against the held checkpoint of 600 entries/m);
  });

  it('attack: a log of another name, or under a key that nobody knows', async () => {
    expect((await run('now', '--origin', 'other.example/evidence')).code).toBe(1);
    expect(await run('now', '--key', 'no key at all')).toMatchObject({ code: 1, out: '' });
  });

  it('attack: a copy whose files are a pipe, a device, or have no end, is neither waited for nor read whole', async () => {
    for (const make of [
      (file: string) => execFileSync('mkfifo', [file]),
      (file: string) => symlinkSync('/dev/zero', file),
    ]) {
      await write('hostile', 300);
      const file = join(folder, 'hostile', 'tile', '0', '000');
      await rm(file);
      make(file);
      expect(await run('hostile')).toMatchObject({
        code: 1,
        err: expect.stringContaining('tile/0/000 cannot be read'),
      });
      await rm(file);
    }
    await write('hostile', 300);
    await truncate(join(folder, 'hostile', 'tile', 'entries', '000'), 2 ** 33);
    expect((await run('hostile')).out).toMatch(/^FOUND {2}tile\/entries\/000: byte \d+, entry 256: not whole entries/m);
  });

  it('asks for a key: without one nothing can be verified', async () => {
    expect((await new FakeWorld().run('verify-log', folder)).code).toBe(2);
  });
});

async function run(name: string, ...args: readonly string[]) {
  const key = args.includes('--key') ? [] : ['--key', KEY];
  return await new FakeWorld().run('verify-log', join(folder, name), ...key, ...args);
}

async function write(name: string, size: number, change: (entries: Uint8Array[]) => void = () => {}): Promise<void> {
  const entries = numberedEntries(size);
  change(entries);
  for (const [path, bytes] of memoryLog(entries, { witnesses: [WITNESS], origin: ORIGIN }).files) {
    const file = join(folder, name, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  }
}
