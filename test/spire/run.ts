/**
 * `npm run test:spire`: the identity suites against a real SPIRE, on PATH or in the folder SPIRE_BIN. SPIRE is in no
 * package registry, so this is no part of `npm test`; without the binaries it says so and fails.
 * Suites are the files `*.spire.ts` beside this one; `spire.ts` starts and stops what they need.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BINARIES = ['spire-server', 'spire-agent'] as const;

const folders = (process.env.SPIRE_BIN ?? process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
const missing = BINARIES.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
if (missing.length > 0) {
  const where =
    process.env.SPIRE_BIN === undefined ? 'on PATH (SPIRE_BIN is not set)' : `in SPIRE_BIN=${process.env.SPIRE_BIN}`;
  console.error(`test:spire needs ${missing.join(' and ')} ${where}: nothing was tested.`);
  console.error('Releases: https://github.com/spiffe/spire/releases; written for 1.15.');
  process.exit(1);
}

const here = dirname(fileURLToPath(import.meta.url));
const vitest = join(here, '../../node_modules/vitest/vitest.mjs');
const { status } = spawnSync(process.execPath, [vitest, 'run', '--config', join(here, 'vitest.config.ts')], {
  stdio: 'inherit',
  // The server finds the Node of its plugin on PATH.
  env: { ...process.env, PATH: [dirname(process.execPath), ...folders, process.env.PATH].join(delimiter) },
});
process.exit(status ?? 1);

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
