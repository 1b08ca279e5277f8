import { chmod, mkdir } from 'node:fs/promises';

/** For the daemon's user only. */
export async function privateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
}
