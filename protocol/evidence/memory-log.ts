/** A log in memory, as its files: for tests, and for whoever gets one over HTTP or in an archive before looking at it. */
import type { LogSource } from './log-source.ts';
import { bundlePath, tilePath } from './tile.ts';

export class MemoryLog implements LogSource {
  /** By path; who changes them sees what a verifier says of it. */
  readonly files: Map<string, Uint8Array>;

  constructor(files: Iterable<readonly [string, Uint8Array]> = []) {
    this.files = new Map(files);
  }

  async checkpoint(): Promise<Uint8Array | undefined> {
    return this.files.get('checkpoint');
  }

  async tile(tile: Parameters<LogSource['tile']>[0]): Promise<Uint8Array | undefined> {
    return this.files.get(tilePath(tile));
  }

  async entries(bundle: Parameters<LogSource['entries']>[0]): Promise<Uint8Array | undefined> {
    return this.files.get(bundlePath(bundle));
  }
}
