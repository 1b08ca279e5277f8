/** A log as a folder of files, read: by this node, or by an auditor who was given a copy. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { bundlePath, type LogSource, tilePath } from '../../protocol/evidence/index.ts';

export class LogDirectory implements LogSource {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  checkpoint(): Promise<Uint8Array | undefined> {
    return this.file('checkpoint');
  }

  tile(tile: Parameters<LogSource['tile']>[0]): Promise<Uint8Array | undefined> {
    return this.file(tilePath(tile));
  }

  entries(bundle: Parameters<LogSource['entries']>[0]): Promise<Uint8Array | undefined> {
    return this.file(bundlePath(bundle));
  }

  /** Undefined when there is no such file. @throws ShellstreamError EVIDENCE_FAILED when it cannot be read. */
  async file(path: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(join(this.#path, path));
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw new ShellstreamError('EVIDENCE_FAILED', `${path} cannot be read`, { cause });
    }
  }
}
