/**
 * `npm run test:spire`: the identity suites against a real SPIRE: in the folder SPIRE_BIN, or on PATH; where it is in neither
 * it is built, once, from the modules that `binaries/go.sum` pins. Suites are the files `*.spire.ts` beside this one;
 * `spire.ts` starts and stops what they need.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BINARIES = ['spire-server', 'spire-agent'] as const;
/** Where `deploy/setup.sh` looks for Go too. */
const GO = '/usr/local/go/bin';

const here = dirname(fileURLToPath(import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [join(here, '../../node_modules/vitest/vitest.mjs'), 'run', '--config', join(here, 'vitest.config.ts')],
  {
    stdio: 'inherit',
    // The server finds the Node of its plugin on PATH.
    env: { ...process.env, SPIRE_BIN: found() ?? built(), PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
  },
);
process.exit(status ?? 1);

function found(): string | undefined {
  const named = process.env.SPIRE_BIN;
  if (named !== undefined && !isWhole(named)) fail(`not both of ${BINARIES.join(' and ')} are in SPIRE_BIN=${named}`);
  return named ?? (process.env.PATH ?? '').split(delimiter).find((folder) => folder !== '' && isWhole(folder));
}

/** The folder of what was built from the pinned modules. Go's own cache makes a second build cheap. */
function built(): string {
  const pins = join(here, 'binaries');
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) hash.update(readFileSync(join(pins, file)));
  const cache = join(here, '../../.cache/spire');
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  if (isWhole(folder)) return folder;
  console.error('test:spire builds SPIRE: 2 GB of modules, and ten minutes on two cores the first time ...');
  mkdirSync(cache, { recursive: true });
  const aside = mkdtempSync(join(cache, 'build-'));
  const packages = BINARIES.map((name) => `github.com/spiffe/spire/cmd/${name}`);
  const options = ['-mod=readonly', '-p', '2', '-trimpath', '-ldflags', '-s -w', '-o', `${aside}/`];
  const { status: code, error } = spawnSync('go', ['build', ...options, ...packages], {
    cwd: pins,
    stdio: 'inherit',
    // Without a C compiler Go would leave out the database of the server, and say nothing.
    env: { ...process.env, CGO_ENABLED: '1', GOWORK: 'off', PATH: `${process.env.PATH}:${GO}` },
  });
  try {
    if (code !== 0) fail(`Go 1.26.4 or later, and a C compiler, build SPIRE: ${error?.message ?? `code ${code}`}`);
    // Whole or not there; another run may have been first.
    if (!isWhole(folder)) renameSync(aside, folder);
    return folder;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function isWhole(folder: string): boolean {
  return BINARIES.every((name) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function fail(why: string): never {
  console.error(`test:spire: nothing was tested: ${why}`);
  process.exit(1);
}
