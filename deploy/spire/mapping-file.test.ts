import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, chown, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../../test/support/requirements.ts';
import { loadMapping } from './mapping-file.ts';

const TEXT = 'apiVersion: shellstream.composer/v1\nidentities: [{ identity: spiffe://a.test/x, tier: master }]\n';
const SUM = createHash('sha256').update(TEXT).digest('hex');

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-mapping-'));
  path = join(folder, 'tiers.yaml');
  await writeFile(path, TEXT, { mode: 0o644 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const load = (file = path, mappingSha256?: string) => loadMapping({ mappingFile: file, mappingSha256 }, 'a.test');

test('a mapping is read, and hashed', async () => {
  expect(await load()).toMatchObject({ sha256: SUM, mapping: { size: 1 } });
  expect(await load(path, SUM)).toMatchObject({ sha256: SUM });
  await symlink(path, join(folder, 'link'));
  expect(await load(join(folder, 'link'))).toMatchObject({ sha256: SUM });
});

test('other bytes than those that were pinned are refused', async () => {
  await expect(
    load(
      path,
      SUM.replace(/./, (first) => (first === '0' ? '1' : '0')),
    ),
  ).rejects.toThrow(`its SHA-256 is ${SUM}`);
});

test.each([0o664, 0o646, 0o666])(
  'a mapping that others may write (%o) would let them give out tiers: refused',
  async (mode) => {
    await chmod(path, mode);
    await expect(load()).rejects.toThrow('may write it');
  },
);

test('a mapping of another user is refused', async (context) => {
  needs(context, 'root');
  await chown(path, 65_534, 65_534);
  await expect(load()).rejects.toThrow('belongs to uid 65534');
});

test('a folder, a pipe that nobody writes to, an endless device and nothing at all are refused', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', ['-m', '644', pipe]);
  await expect(load(folder)).rejects.toThrow('no regular file');
  await expect(load(pipe)).rejects.toThrow('no regular file');
  await expect(load('/dev/zero')).rejects.toThrow('no regular file');
  await expect(load(join(folder, 'none'))).rejects.toThrow('ENOENT');
});

test('a mapping above 256 KiB is refused', async () => {
  await writeFile(path, TEXT + '#'.repeat(256 * 1024));
  await expect(load()).rejects.toThrow('longer than 262144 bytes');
});
