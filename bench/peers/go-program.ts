import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { run } from '../../test/support/processes.ts';

const BUILD_TIMEOUT_MS = 300_000;

/**
 * Builds the main package of a module in this folder and tells where the program is. Go's own cache makes the second
 * time cheap. @param target a package to build instead, of those that the module's go.mod pins.
 */
export async function goProgram(module: string, target = '.'): Promise<string> {
  const output = fileURLToPath(new URL('../../.cache/bench/', import.meta.url));
  await mkdir(output, { recursive: true });
  const program = `${output}${module}`;
  const cwd = fileURLToPath(new URL(module, import.meta.url));
  await run('go', ['build', '-trimpath', '-o', program, target], { cwd, timeoutMs: BUILD_TIMEOUT_MS });
  return program;
}
