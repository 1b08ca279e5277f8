import { ShellstreamError } from '../../../protocol/errors.ts';

/** The word if it is one of the list; anything else is MALFORMED. */
export function word<W extends string>(words: readonly W[], value: string): W {
  const found = words.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw new ShellstreamError('MALFORMED', `${JSON.stringify(value.slice(0, 64))} is none of ${words.join(', ')}`);
}
