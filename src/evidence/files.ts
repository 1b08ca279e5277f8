/** Files that are there whole or not at all, and stay there through a power cut. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';

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

/**
 * The first `most` bytes of a file that somebody else may have put there: a pipe that nobody writes to, a device without an
 * end and a file as large as a disk are not waited for, nor taken into memory.
 */
export async function readBounded(path: string, most: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new ShellstreamError('EVIDENCE_FAILED', `${path} is no regular file`);
    const bytes = new Uint8Array(Math.min(stat.size, most));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  } finally {
    await file.close();
  }
}

/** Of what a crash left behind half-written. */
export const TEMPORARY_SUFFIX = '.writing';
