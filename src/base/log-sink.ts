import { mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from './clock.ts';

/** Takes whole lines and never throws. */
export interface LogSink {
  write(lines: string): void;
}

/** Writes bytes from an offset on and says how many; throws as `fs.writeSync` does. */
export type WriteBytes = (bytes: Uint8Array, offset: number) => number;

const NEWLINE = 10;
/** For a reader that is slow, where the descriptor does not block by itself; one that stands still is waited for once. */
const PATIENCE_MS = 100;

/**
 * Where log lines go, synchronously. A full disk, a reader that went away or one that stands still costs lines and
 * nothing else: a gateway that ends because it cannot write its log is a gateway that whoever fills the disk can end.
 * What was lost is said, by number, as soon as there is room.
 */
export function logSink(write: WriteBytes, clock: Clock): LogSink {
  let lost = 0;
  /** The last line that got out is half one. */
  let isTorn = false;
  return {
    write(lines) {
      const note = lost === 0 ? '' : lostLine(clock, lost);
      const bytes = Buffer.from(`${isTorn ? '\n' : ''}${note}${lines}`);
      const written = writeAll(write, bytes, lost === 0 ? PATIENCE_MS : 0);
      if (written === 0) {
        lost += newlines(lines);
        return;
      }
      isTorn = bytes[written - 1] !== NEWLINE;
      // Of what did not get out, the note is not lost: its number still is.
      const rest = newlines(bytes.subarray(written).toString('latin1'));
      lost = rest <= newlines(lines) ? rest : lost + newlines(lines);
    },
  };
}

export function descriptorSink(fd: number, clock: Clock): LogSink {
  return logSink((bytes, offset) => writeSync(fd, bytes, offset), clock);
}

/** A file to append to; its folder is made. Throws when it cannot be opened: that is said at the start, while somebody looks. */
export function fileSink(path: string, clock: Clock): LogSink {
  mkdirSync(dirname(path), { recursive: true });
  return descriptorSink(openSync(path, 'a', 0o640), clock);
}

/** How many bytes got out. */
function writeAll(write: WriteBytes, bytes: Uint8Array, patienceMs: number): number {
  let written = 0;
  let waited = 0;
  while (written < bytes.length) {
    try {
      written += write(bytes, written);
    } catch (error) {
      if (!isAgain(error) || waited >= patienceMs) return written;
      Atomics.wait(NOBODY, 0, 0, 1);
      waited += 1;
    }
  }
  return written;
}

const NOBODY = new Int32Array(new SharedArrayBuffer(4));

function isAgain(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EINTR');
}

function lostLine(clock: Clock, count: number): string {
  const time = new Date(clock.now()).toISOString();
  return `${JSON.stringify({ severity: 'error', time, count, msg: 'log lines lost' })}\n`;
}

function newlines(text: string): number {
  return text.split('\n').length - 1;
}
