/** Checkpoints, c2sp.org/tlog-checkpoint: the size and the root of a log at one time, as the text of a signed note. */
import { ShellstreamError } from '../errors.ts';
import { fromBase64, toBase64, utf8 } from './bytes.ts';
import { HASH_BYTES } from './merkle.ts';

export interface Checkpoint {
  /** Which log: a URL without a scheme. */
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
  /** Lines after the root; ours has none. */
  readonly extensions: readonly string[];
}

const MAX_ORIGIN_BYTES = 255;

export function formatCheckpoint({ origin, size, root, extensions }: Checkpoint): string {
  return `${[origin, String(size), toBase64(root), ...extensions].join('\n')}\n`;
}

/** @param text of a note, newline at its end included. @throws ShellstreamError MALFORMED */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw malformed('no newline at the end');
  const [origin = '', number = '', encoded = '', ...extensions] = text.slice(0, -1).split('\n');
  if (origin === '' || utf8(origin).length > MAX_ORIGIN_BYTES) throw malformed('the origin');
  const size = Number(number);
  if (!/^(0|[1-9][0-9]{0,15})$/.test(number) || !Number.isSafeInteger(size)) throw malformed('the size');
  const root = fromBase64(encoded);
  if (root?.length !== HASH_BYTES) throw malformed('the root');
  if (extensions.includes('')) throw malformed('an empty line');
  return { origin, size, root, extensions };
}

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `checkpoint: ${what}`);
}
