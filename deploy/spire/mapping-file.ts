import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { MAX_DOCUMENT_BYTES } from '../../protocol/document/read-document.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Mapping, parseMapping } from './mapping.ts';
import type { PluginData } from './plugin-data.ts';

export interface LoadedMapping {
  readonly mapping: Mapping;
  /** SHA-256 of the file's bytes, lower-case hex. */
  readonly sha256: string;
}

/**
 * Reads the mapping that `plugin_data` names. Throws MALFORMED with `path:line:column` for what it says, and for a hash
 * that is not the one asked for; INTERNAL when the file cannot be read, or others than its readers' owner and root may
 * write it: who writes the mapping gives out tiers.
 */
export async function loadMapping(options: PluginData, trustDomain: string): Promise<LoadedMapping> {
  const { mappingFile, mappingSha256 } = options;
  const bytes = await readTrusted(mappingFile);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (mappingSha256 !== undefined && sha256 !== mappingSha256)
    throw new ShellstreamError('MALFORMED', `${mappingFile}: its SHA-256 is ${sha256}, not mapping_sha256`);
  return { mapping: parseMapping(mappingFile, bytes, trustDomain), sha256 };
}

async function readTrusted(path: string): Promise<Uint8Array> {
  // O_NONBLOCK: opening a named pipe would wait for a writer, and the server with it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw new ShellstreamError('INTERNAL', `${path}: ${cause instanceof Error ? cause.message : 'unreadable'}`, {
      cause,
    });
  });
  try {
    // Of the open file, not of the path: a path can name another file a moment later.
    const stat = await file.stat();
    const { uid, mode } = stat;
    if (!stat.isFile()) throw new ShellstreamError('INTERNAL', `${path}: no regular file`);
    if (uid !== 0 && uid !== process.geteuid?.())
      throw new ShellstreamError('INTERNAL', `${path}: belongs to uid ${uid}, neither to root nor to this user`);
    if ((mode & 0o022) !== 0)
      throw new ShellstreamError('INTERNAL', `${path}: its group or everybody may write it (chmod go-w)`);
    return await readWhole(file, path);
  } finally {
    await file.close();
  }
}

async function readWhole(file: FileHandle, path: string): Promise<Uint8Array> {
  const buffer = Buffer.alloc(MAX_DOCUMENT_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length > MAX_DOCUMENT_BYTES)
    throw new ShellstreamError('MALFORMED', `${path}: longer than ${MAX_DOCUMENT_BYTES} bytes`);
  return buffer.subarray(0, length);
}
