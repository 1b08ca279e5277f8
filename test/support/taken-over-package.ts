/**
 * This package again, with an attacker in it: as if a bug had let code into its terminators. A jail shows a terminator nothing
 * but its package, so the attacker comes as one of its files; everything else, and how it is started, is as it is.
 */
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './processes.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CHILDREN = join(ROOT, 'test/system/children');
const PARTS = [
  'package.json',
  'src',
  'protocol',
  'native/bpf/shellstream.o',
  'native/crypto/crypto.node',
  'native/kernel/kernel.node',
  'native/sandbox/sandbox.node',
];
/** As far below the package as the folder that it comes from: its imports stay as they are. */
const ATTACKER = 'src/taken/over';

/** Makes it in this folder; the path of its `shellstream`. */
export async function takenOverPackage(directory: string): Promise<string> {
  for (const part of PARTS) {
    await mkdir(dirname(join(directory, part)), { recursive: true });
    await cp(join(ROOT, part), join(directory, part), {
      recursive: true,
      filter: (path) => !path.endsWith('.test.ts'),
    });
  }
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  await mkdir(join(directory, ATTACKER), { recursive: true });
  for (const file of ['taken-over.ts', 'home.ts', 'system-calls.ts', 'ways-out.ts'])
    await cp(join(CHILDREN, file), join(directory, ATTACKER, file));
  await run('clang-14', [
    ...['-O1', '-shared', '-fPIC', '-o', join(directory, ATTACKER, 'syscall.node')],
    join(CHILDREN, 'syscall.c'),
  ]);
  const entry = join(directory, 'src/roots/terminator-process.ts');
  await writeFile(entry, `import '../taken/over/taken-over.ts';\n${await readFile(entry, 'utf8')}`);
  return join(directory, 'src/roots/shellstream.ts');
}
