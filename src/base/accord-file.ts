import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Accord } from '../../protocol/posture/accord.ts';
import { accordHash, parseAccord, type Sha256 } from '../../protocol/posture/parse-accord.ts';

/** The accord that a site's document may extend as `default`; it comes with the program. */
export const DEFAULT_ACCORD_FILE = fileURLToPath(new URL('../../protocol/accords/default.yaml', import.meta.url));

export interface LoadedAccord {
  readonly accord: Accord;
  /** The site's document as it was read. */
  readonly document: Uint8Array;
  /** 32 bytes; in every grant and artifact. */
  readonly hash: Uint8Array;
}

/** Reads a site's accord. Throws MALFORMED with `path:line:column`, INTERNAL when a file cannot be read. */
export async function loadAccord(path: string, sha256: Sha256): Promise<LoadedAccord> {
  return await readAccord(await read(path), sha256, path);
}

/** As `loadAccord`, of a document that was read already. */
export async function readAccord(document: Uint8Array, sha256: Sha256, name = 'accord'): Promise<LoadedAccord> {
  const baseBytes = await read(DEFAULT_ACCORD_FILE);
  const base = parseAccord(baseBytes, { name: DEFAULT_ACCORD_FILE });
  const accord = parseAccord(document, { name, bases: new Map([[base.id, base]]) });
  const hash =
    accord.extends === undefined
      ? accordHash(sha256, document)
      : accordHash(sha256, document, accordHash(sha256, baseBytes));
  return { accord, hash, document };
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'cannot be read';
    throw new ShellstreamError('INTERNAL', `${path}: ${why}`, { cause });
  }
}
