/**
 * Debian's own kernel, as apt has it for this host: the newest of its release, checked by apt against the signed archive.
 * Kept in .cache/kernel-tier, one folder a version; a new version replaces the former.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { REPOSITORY } from '../runner/child.ts';
import { type Finished, run } from '../support/processes.ts';

export interface StockKernel {
  /** As `uname -r` says it. */
  readonly release: string;
  readonly image: string;
  /** Holds lib/modules/RELEASE, as `modprobe --dirname` takes it. */
  readonly root: string;
}

const CACHE = join(REPOSITORY, '.cache/kernel-tier');
/** Depends on the kernel of the release; its version goes with every update. */
const META_PACKAGE = 'linux-image-amd64';

/** Rejects, with apt's own words, where apt cannot tell or bring it. */
export async function stockKernel(): Promise<StockKernel> {
  const { name, version } = await candidate();
  const release = name.slice('linux-image-'.length);
  const root = join(CACHE, `${release}_${version}`);
  if (!existsSync(root)) await fetch(`${name}=${version}`, release, root);
  return { release, image: join(root, 'boot', `vmlinuz-${release}`), root };
}

interface Candidate {
  readonly name: string;
  readonly version: string;
}

async function candidate(): Promise<Candidate> {
  const known = parseCandidate(await show());
  if (known !== undefined) return known;
  // Lists are absent in fresh containers.
  await run('apt-get', ['-q', 'update'], { timeoutMs: MINUTES_5 });
  const found = parseCandidate(await show());
  if (found === undefined) throw new Error(`apt knows no ${META_PACKAGE}: is this Debian?`);
  return found;
}

const MINUTES_5 = 300_000;

async function show(): Promise<string> {
  // Exits with 100 where the package is unknown.
  const { stdout } = await run('sh', ['-c', `apt-cache show --no-all-versions ${META_PACKAGE} 2>/dev/null || :`]);
  return stdout;
}

function parseCandidate(record: string): Candidate | undefined {
  const [, name, version] = /^Depends: (?:.*, )?(linux-image-\d[\w.+-]*) \(= ([\w.+~:-]+)\)/m.exec(record) ?? [];
  return name === undefined || version === undefined ? undefined : { name, version };
}

/** Made aside and moved: a run that is killed leaves no half kernel under the name of a whole one. */
async function fetch(pinned: string, release: string, root: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const aside = await mkdtemp(join(CACHE, 'fetching-'));
  try {
    await download(pinned, aside);
    const [archive] = (await readdir(aside)).filter((file) => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${pinned} left no package`);
    const tree = join(aside, 'tree');
    await mkdir(tree);
    await run('sh', ['-c', EXTRACT, 'extract', join(aside, archive), tree, ...WANTED], { timeoutMs: MINUTES_5 });
    await run('depmod', ['--basedir', tree, release]);
    for (const former of await readdir(CACHE)) {
      if (!former.startsWith('fetching-')) await rm(join(CACHE, former), { recursive: true, force: true });
    }
    await rename(tree, root);
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function download(pinned: string, folder: string): Promise<Finished> {
  const get = () => run('apt-get', ['-q', 'download', pinned], { cwd: folder, timeoutMs: MINUTES_5 });
  // Old lists name what the mirror has replaced since.
  return await get().catch(async () => {
    await run('apt-get', ['-q', 'update'], { timeoutMs: MINUTES_5 });
    return await get();
  });
}

const EXTRACT = 'deb=$1 tree=$2; shift 2; dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --wildcards "$@"';

/** A sixth of the package; the rest is drivers of hardware that the machine has not. */
const WANTED = [
  '--no-wildcards-match-slash',
  './boot/vmlinuz-*',
  './lib/modules/*/modules.*',
  ...['arch', 'crypto', 'fs', 'lib', 'net'].map((part) => `./lib/modules/*/kernel/${part}`),
  './lib/modules/*/kernel/drivers/virtio',
  './lib/modules/*/kernel/drivers/net/wireguard',
  './lib/modules/*/kernel/drivers/net/*.ko',
];
