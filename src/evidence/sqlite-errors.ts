/** What SQLite reports, in our words. Result codes: sqlite.org/rescode.html; the low byte is the primary one. */
import { ShellstreamError } from '../../protocol/errors.ts';

const FULL = 13;
const WORDS: Readonly<Record<number, string>> = {
  5: 'another process has it open',
  8: 'it is read-only',
  10: 'the disk reports an error',
  11: 'its pages are damaged',
  14: 'it cannot be opened',
  26: 'it is no database: its first bytes are damaged',
};

/** The disk has no room, and nothing was written. */
export function isFull(error: unknown): boolean {
  return primaryCode(error) === FULL;
}

/** @param path of the file that it is about. */
export function failureOf(path: string, error: unknown): ShellstreamError {
  if (error instanceof ShellstreamError) return error;
  const code = primaryCode(error);
  if (code === FULL) return new ShellstreamError('EVIDENCE_FULL', `${path}: the disk is full`, { cause: error });
  const words = code === undefined ? undefined : WORDS[code];
  const detail = error instanceof Error ? error.message : String(error);
  return new ShellstreamError('EVIDENCE_FAILED', `${path}: ${words ?? detail}`, { cause: error });
}

function primaryCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined;
  return error.errcode & 0xff;
}
