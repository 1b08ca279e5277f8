import { randomUUID } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import type { Uptime } from '../base/passed-time.ts';

/**
 * Another one after each boot: a file in the runtime directory, which no reboot leaves. (The kernel's own is under
 * /proc/sys, which a hardened unit does not see.) What cannot be read counts as another boot.
 */
export async function bootId(runtimeDirectory: string): Promise<string> {
  const path = join(runtimeDirectory, 'boot-id');
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.writeFile(randomUUID());
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  return await readFile(path, 'utf8');
}

/** By the kernel's clock of the boot, which goes on in sleep and which nobody can set. */
export async function machineUptime(runtimeDirectory: string): Promise<Uptime> {
  return { boot: await bootId(runtimeDirectory), ms: () => uptime() * 1_000 };
}
