/** Files that are there whole or not at all, and stay there through a power cut. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface WriteOptions {
  /** Permission bits; 0644 unless told. */
  readonly mode?: number;
}

/**
 * Writes beside the place, syncs, renames, and syncs the folder: a reader sees the old file or the new one, and after this
 * returned a crash does not bring the old one back.
 */
export async function writeDurably(path: string, bytes: Uint8Array, options: WriteOptions = {}): Promise<void> {
  await writeRenamed(path, bytes, options);
  await syncFolder(dirname(path));
}

/** As {@link writeDurably}, for the first of several files of a folder that is synced once, after the last. */
export async function writeRenamed(
  path: string,
  bytes: Uint8Array,
  { mode = 0o644 }: WriteOptions = {},
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}${TEMPORARY_SUFFIX}`;
  const file = await open(temporary, 'wx', mode);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
  await file.close();
  await rename(temporary, path);
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes a folder and syncs each parent that got a new name in it. */
export async function makeFolder(path: string, mode = 0o755): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
}

/** Of what a crash left behind half-written. */
export const TEMPORARY_SUFFIX = '.writing';
