import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatVerifierKey } from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { EvidenceFolder, ORIGIN, sha256 } from './fixtures.ts';
import { createLogKey, loadLogKeys } from './keys.ts';

const create = (path: string, origin = ORIGIN): Promise<string> =>
  createLogKey(sha256, nodeCrypto.randomBytes, path, origin);

describe('a log’s key', () => {
  test('is made once, for its user alone, and signs for the verifier key that was told', async () => {
    using folder = new EvidenceFolder();
    const path = join(folder.path, 'keys', 'log.key');
    const told = await create(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder.path, 'keys')).mode & 0o777).toBe(0o700);
    const [signer] = await loadLogKeys(sha256, [path], ORIGIN);
    expect(signer && formatVerifierKey(signer)).toBe(told);
    await expect(create(path)).rejects.toThrow('there is a key already');
  });

  test('two sign while one is changed for the other', async () => {
    using folder = new EvidenceFolder();
    const paths = ['old', 'new'].map((name) => join(folder.path, name));
    for (const path of paths) await create(path);
    const signers = await loadLogKeys(sha256, paths, ORIGIN);
    expect(new Set(signers.map(({ id }) => id)).size).toBe(2);
    await expect(loadLogKeys(sha256, [paths[0] ?? '', paths[0] ?? ''], ORIGIN)).rejects.toThrow('the same key twice');
  });

  test('is refused when others can read it, when it is another log’s, damaged or missing; and is in no error', async () => {
    using folder = new EvidenceFolder();
    const path = join(folder.path, 'log.key');
    await create(path);
    const line = readFileSync(path, 'utf8');
    // The key is base64 after the fourth plus sign, and may hold more of them.
    const secret = line.trimEnd().split('+').slice(4).join('+');
    const cases: readonly (readonly [() => void, string, string])[] = [
      [() => chmodSync(path, 0o640), ORIGIN, 'others may read or change it (mode 640)'],
      [() => undefined, 'beta.example/evidence', 'not of beta.example'],
      [() => writeFileSync(path, line.replace(/\+[0-9a-f]{8}\+/, '+00000000+')), ORIGIN, 'its id is another'],
      [() => writeFileSync(path, line.slice(0, -9)), ORIGIN, 'no signing key'],
      [() => writeFileSync(path, 'x'.repeat(5_000)), ORIGIN, '5000 bytes are no key'],
    ];
    for (const [damage, origin, named] of cases) {
      writeFileSync(path, line);
      chmodSync(path, 0o600);
      damage();
      const error = await loadLogKeys(sha256, [path], origin).catch((thrown: unknown) => thrown);
      expect(String(error)).toContain(named);
      expect(`${error} ${error instanceof Error ? error.cause : ''}`).not.toContain(secret.slice(0, 12));
    }
    await expect(loadLogKeys(sha256, [join(folder.path, 'none')], ORIGIN)).rejects.toThrow('cannot be read');
    await expect(loadLogKeys(sha256, [], ORIGIN)).rejects.toThrow('at least one key');
  });
});
