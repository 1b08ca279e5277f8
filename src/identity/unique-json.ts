import { ShellstreamError } from '../../protocol/errors.ts';

/**
 * JSON in which no object names a member twice. `JSON.parse` takes the last of two, others the first: a token with two
 * `aud` would mean one thing to the agent that validates it and another to us.
 * Throws MALFORMED.
 */
export function parseUniqueJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ShellstreamError('MALFORMED', 'no JSON', { cause });
  }
  refuseRepeatedNames(text);
  return value;
}

/** `text` is known to be valid JSON, so strings and braces are all that needs to be told apart. */
function refuseRepeatedNames(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (token.endsWith(':')) {
      const name: unknown = JSON.parse(token.slice(0, -1));
      const names = open.at(-1);
      if (typeof name !== 'string' || names === undefined || names.has(name))
        throw new ShellstreamError('MALFORMED', 'a JSON object names a member twice');
      names.add(name);
    }
    if (open.length > MAX_DEPTH) throw new ShellstreamError('MALFORMED', 'JSON nested too deeply');
  }
}

const MAX_DEPTH = 16;
/** A string (with the colon that makes it a name), or a bracket. Strings come first, so brackets inside them are skipped. */
const TOKENS = /"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g;
