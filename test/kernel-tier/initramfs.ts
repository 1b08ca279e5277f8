/** What the kernel starts from: busybox, the modules that lead to the host's files, and guest/init. */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { REPOSITORY } from '../runner/child.ts';
import { run } from '../support/processes.ts';
import type { StockKernel } from './kernel.ts';

/** Modules before the root is there; all others are loaded from it. */
const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
const BUSYBOX = '/bin/busybox';

/** Writes it into `folder`, and answers its path. */
export async function buildInitramfs(folder: string, kernel: StockKernel): Promise<string> {
  const tree = await mkdtemp(join(folder, 'initramfs-'));
  for (const name of ['bin', 'dev', 'modules', 'proc', 'root', 'sys']) await mkdir(join(tree, name));
  await copyFile(BUSYBOX, join(tree, 'bin/busybox'));
  await copyFile(join(REPOSITORY, 'test/kernel-tier/guest/init'), join(tree, 'init'));
  for (const [index, module] of (await inOrder(kernel)).entries()) {
    // init loads them in the order of their names.
    await copyFile(module, join(tree, 'modules', `${String(index).padStart(3, '0')}-${basename(module)}`));
  }
  await writeFile(join(tree, 'settings'), settings(kernel));
  const archive = join(folder, 'initramfs.cpio');
  await run('sh', [
    '-ec',
    'cd "$1"; chmod 755 init bin/busybox; find . | cpio -o -H newc --quiet >"$2"',
    'pack',
    tree,
    archive,
  ]);
  await rm(tree, { recursive: true, force: true });
  return archive;
}

async function inOrder(kernel: StockKernel): Promise<readonly string[]> {
  const paths = new Set<string>();
  for (const module of MODULES) {
    const args = ['--show-depends', '--dirname', kernel.root, '--set-version', kernel.release, module];
    const { stdout } = await run('modprobe', args);
    for (const [, path = ''] of stdout.matchAll(/^insmod (\S+)/gm)) paths.add(path);
  }
  return [...paths];
}

/** What guest/start.sh must know of the host. */
function settings(kernel: StockKernel): string {
  const values = { REPOSITORY, KERNEL_ROOT: kernel.root, NODE: process.execPath };
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('');
}
