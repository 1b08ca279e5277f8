/**
 * `npm run test:spire`: the identity suites against a real SPIRE. On PATH, or in the folder SPIRE_BIN; where it is in
 * neither it is built, once, from the modules that `binaries/go.sum` pins. Suites are the files `*.spire.ts` beside this
 * one; `spire.ts` starts and stops what they need.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BINARIES = ['spire-server', 'spire-agent'] as const;

const here = dirname(fileURLToPath(import.meta.url));
const named = process.env.SPIRE_BIN;
const folders = foldersOf(named ?? process.env.PATH);
if (!BINARIES.every((name) => folders.some((folder) => isExecutable(join(folder, name))))) {
  if (named !== undefined)
    fail(`test:spire needs ${BINARIES.join(' and ')} in SPIRE_BIN=${named}: nothing was tested.`);
  folders.unshift(built());
}
const vitest = join(here, '../../node_modules/vitest/vitest.mjs');
const { status } = spawnSync(process.execPath, [vitest, 'run', '--config', join(here, 'vitest.config.ts')], {
  stdio: 'inherit',
  // The server finds the Node of its plugin on PATH.
  env: { ...process.env, PATH: [dirname(process.execPath), ...folders, process.env.PATH].join(delimiter) },
});
process.exit(status ?? 1);

/** The folder of binaries that were built from the pinned modules. Go's own cache makes a second build cheap. */
function built(): string {
  const pins = join(here, 'binaries');
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) hash.update(readFileSync(join(pins, file)));
  const cache = join(here, '../../.cache/spire');
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  if (BINARIES.every((name) => isExecutable(join(folder, name)))) return folder;
  console.error('test:spire builds SPIRE: 2 GB of modules, and ten minutes on two cores the first time ...');
  // Made aside and moved: a build that was broken off is none.
  const aside = `${folder}.${process.pid}`;
  mkdirSync(aside, { recursive: true });
  const packages = BINARIES.map((name) => `github.com/spiffe/spire/cmd/${name}`);
  const options = ['-p', '2', '-trimpath', '-ldflags', '-s -w', '-o', `${aside}/`];
  const build = spawnSync('go', ['build', ...options, ...packages], { cwd: pins, stdio: 'inherit' });
  if (build.status !== 0) {
    rmSync(aside, { recursive: true, force: true });
    fail(
      `test:spire needs ${BINARIES.join(' and ')} on PATH or in SPIRE_BIN, or Go to build them: nothing was tested.`,
    );
  }
  rmSync(folder, { recursive: true, force: true });
  renameSync(aside, folder);
  return folder;
}

function foldersOf(path = ''): string[] {
  return path.split(delimiter).filter((folder) => folder !== '');
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fail(why: string): never {
  console.error(why);
  process.exit(1);
}
