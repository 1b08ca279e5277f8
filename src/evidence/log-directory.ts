/** A log as a folder of files, read: by this node, or by an auditor who was given a copy. */
import { join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { bundlePath, type LogSource, MAX_ENTRY_BYTES, TILE_WIDTH, tilePath } from '../../protocol/evidence/index.ts';
import { readBounded } from './files.ts';

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

  /**
   * Undefined when there is no such file. Of one that is longer than any file of a log, so much that it is seen to be.
   * @throws ShellstreamError EVIDENCE_FAILED when it cannot be read.
   */
  async file(path: string): Promise<Uint8Array | undefined> {
    try {
      return await readBounded(join(this.#path, path), MAX_FILE_BYTES + 1);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw new ShellstreamError('EVIDENCE_FAILED', `${path} cannot be read`, { cause });
    }
  }
}

/** A full bundle of the longest entries: nothing of a log is longer. Whoever gave us the copy chose the files. */
const MAX_FILE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES);
