/** The checks of verify-log as a browser runs them: one module, in a realm that has nothing of Node. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleForBrowsers } from '../../deploy/browser-bundle.ts';
import { describeFinding, formatVerifierKey } from '../../protocol/evidence/index.ts';
import { EvidenceFolder, LOG_KEY, ORIGIN, rawRecord, sha256 } from '../../src/evidence/fixtures.ts';
import { verifyLogDirectory } from '../../src/evidence/verify.ts';
import { run } from '../support/processes.ts';

const REALM = fileURLToPath(new URL('children/realm.ts', import.meta.url));
const KEY = formatVerifierKey(LOG_KEY);

let scratch = '';
let bundle = '';
let log = '';

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'shellstream-browser-'));
  bundle = join(scratch, 'verify-log.js');
  log = join(scratch, 'log');
  await bundleForBrowsers(bundle);
  using folder = new EvidenceFolder();
  using spool = folder.spool();
  // As `rawRecord` makes them, no artifacts: the log holds commitments, whatever was committed to.
  spool.append(Array.from({ length: 600 }, (_, i) => rawRecord(`${i}`)));
  await (await folder.publisher(spool)).publish();
  cpSync(folder.logPath, log, { recursive: true });
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('a whole log passes, in a realm without Node', async () => {
  expect(await inRealm()).toEqual({ size: 600, entries: 600, told: [], node: 'undefinedundefinedundefined' });
});

test.each([
  ['checkpoint', 30],
  ['tile/0/000', 4_000],
  ['tile/0/002.p/88', 7],
  ['tile/1/000.p/2', 33],
  ['tile/entries/001', 1_000],
  ['tile/entries/002.p/88', 0],
])('a flipped byte of %s is found at the same place as by the daemon’s verify-log', async (path, at) => {
  const file = join(log, path);
  const bytes = readFileSync(file);
  writeFileSync(file, bytes.with(at, (bytes[at] ?? 0) ^ 1));
  try {
    const { findings } = await verifyLogDirectory({ sha256, path: log, origin: ORIGIN, keys: [KEY] });
    expect(findings).toHaveLength(1);
    expect(await inRealm()).toMatchObject({ told: findings.map(describeFinding) });
  } finally {
    writeFileSync(file, bytes);
  }
});

test('attack: the owner forks the log: the checkpoint that somebody kept says so in the browser', async () => {
  using fork = new EvidenceFolder();
  using spool = fork.spool();
  spool.append(Array.from({ length: 600 }, (_, i) => rawRecord(`other ${i}`)));
  await (await fork.publisher(spool)).publish();
  const { told } = await inRealm(join(fork.logPath, 'checkpoint'));
  expect(told).toEqual([expect.stringContaining('the log has another root of that size')]);
});

async function inRealm(...held: readonly string[]) {
  const args = ['--experimental-vm-modules', '--no-warnings', REALM, bundle, log, ORIGIN, KEY, ...held];
  return JSON.parse((await run(process.execPath, args)).stdout);
}
