import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Accord } from '../../protocol/posture/accord.ts';
import { accordHash, parseAccord, type Sha256 } from '../../protocol/posture/parse-accord.ts';

/** The accord that a site's document may extend as `default`; it comes with the program. */
export const DEFAULT_ACCORD_FILE = fileURLToPath(new URL('../../protocol/accords/default.yaml', import.meta.url));

export interface LoadedAccord {
  readonly accord: Accord;
  /** 32 bytes; in every grant and artifact. */
  readonly hash: Uint8Array;
}

/** Reads a site's accord. Throws MALFORMED with `path:line:column`, INTERNAL when a file cannot be read. */
export async function loadAccord(path: string, sha256: Sha256): Promise<LoadedAccord> {
  const baseBytes = await read(DEFAULT_ACCORD_FILE);
  const base = parseAccord(baseBytes, { name: DEFAULT_ACCORD_FILE });
  const bytes = await read(path);
  const accord = parseAccord(bytes, { name: path, bases: new Map([[base.id, base]]) });
  const hash =
    accord.extends === undefined ? accordHash(sha256, bytes) : accordHash(sha256, bytes, accordHash(sha256, baseBytes));
  return { accord, hash };
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'cannot be read';
    throw new ShellstreamError('INTERNAL', `${path}: ${why}`, { cause });
  }
}
