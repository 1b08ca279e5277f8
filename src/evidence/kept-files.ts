/**
 * Whether files are still those that were opened. What is written to one that somebody took away, or put another in the
 * place of, is gone with the process: the file system keeps it for whoever holds it open, and for nobody else.
 */
import { statSync } from 'node:fs';
import { ShellstreamError } from '../../protocol/errors.ts';

export class KeptFiles {
  /** Undefined: it was not there when it was last looked for. */
  readonly #seen = new Map<string, string | undefined>();

  constructor(paths: readonly string[]) {
    for (const path of paths) this.#seen.set(path, identityOf(path));
  }

  /** A file that comes into being later is known from then on. @throws ShellstreamError EVIDENCE_FAILED */
  check(): void {
    for (const [path, seen] of this.#seen) {
      const now = identityOf(path);
      if (seen !== undefined && now !== seen) {
        const what = now === undefined ? 'was taken away' : 'was replaced';
        throw new ShellstreamError('EVIDENCE_FAILED', `${path} ${what} while it was written to`);
      }
      this.#seen.set(path, now);
    }
  }
}

function identityOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}
