/**
 * The text of `plugin_data`, as SPIRE hands it to a plugin: HCL. Read here is the part of HCL that it takes, lines of
 * `key = "value"` with comments; whatever else HCL has (objects, lists, heredocs, JSON) is refused, not guessed at.
 */
import { ShellstreamError } from '../../protocol/errors.ts';

export interface PluginData {
  /** Absolute path of the mapping. */
  readonly mappingFile: string;
  /** SHA-256 that the mapping's bytes must have, lower-case hex; undefined when the file alone decides. */
  readonly mappingSha256: string | undefined;
}

/** Throws MALFORMED with `plugin_data:line:column`. */
export function parsePluginData(text: string): PluginData {
  if (text.length > MAX_LENGTH) throw new ShellstreamError('MALFORMED', `plugin_data: above ${MAX_LENGTH} characters`);
  const values = new Map<string, Value>();
  for (const { key, value } of assignments(text)) {
    if (!KEYS.includes(key.text)) throw refuse(key, `no such key: ${key.text}; there are ${KEYS.join(' and ')}`);
    if (values.has(key.text)) throw refuse(key, `${key.text} twice`);
    values.set(key.text, value);
  }
  const file = values.get('mapping_file');
  if (file === undefined) throw new ShellstreamError('MALFORMED', 'plugin_data:1:1: mapping_file is missing');
  // A plugin's working folder is that of the server, which nobody has in mind when writing its configuration.
  if (!file.text.startsWith('/') || file.text.includes('\0')) throw refuse(file, 'mapping_file is no absolute path');
  const sha256 = values.get('mapping_sha256');
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256.text))
    throw refuse(sha256, 'mapping_sha256 is not 64 characters of lower-case hex');
  return { mappingFile: file.text, mappingSha256: sha256?.text };
}

/** A piece of the text and where it begins. */
interface Value {
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

function* assignments(text: string): Generator<{ readonly key: Value; readonly value: Value }> {
  const tokens = tokenize(text);
  for (let at = 0; at < tokens.length; at += 3) {
    const [key, equals, value] = tokens.slice(at, at + 3);
    if (key === undefined || key.kind === 'equals') throw refuse(key ?? START, 'a key is missing');
    if (equals?.kind !== 'equals') throw refuse(equals ?? key, `not ${key.text} = "VALUE"`);
    if (value?.kind !== 'string') throw refuse(value ?? equals, `the value of ${key.text} is no text in quotes`);
    yield { key, value };
  }
}

interface Token extends Value {
  readonly kind: 'word' | 'string' | 'equals';
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let lineStart = 0;
  for (let at = 0; at < text.length; ) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(text);
    const place = { line, column: at - lineStart + 1 };
    if (piece === null) throw refuse(place, 'only lines of key = "value" are read here, and comments');
    const [whole, , word, string] = piece;
    if (word !== undefined) tokens.push({ kind: 'word', text: word, ...place });
    else if (string !== undefined) tokens.push({ kind: 'string', text: unquote(string, place), ...place });
    else if (whole === '=') tokens.push({ kind: 'equals', text: '=', ...place });
    for (let end = whole.indexOf('\n'); end >= 0; end = whole.indexOf('\n', end + 1)) {
      line += 1;
      lineStart = at + end + 1;
    }
    at += whole.length;
  }
  return tokens;
}

/** Space and comments; a word; a text in quotes; an equals sign. Each alternative begins differently: no backtracking. */
const PIECE =
  /(\s+|#[^\n]*|\/\/[^\n]*|\/\*(?:[^*]|\*(?!\/))*\*\/)|([A-Za-z_][A-Za-z0-9_-]*)|"((?:[^"\\\n]|\\[^\n])*)"|=/y;

function unquote(raw: string, place: Omit<Value, 'text'>): string {
  if (/\$\{/.test(raw)) throw refuse(place, 'a text with $ and {: nothing is put in for it here');
  return raw.replace(/\\(u[0-9a-fA-F]{4}|.)/g, (spelled, what: string) => {
    if (what.length === 5) return String.fromCharCode(Number.parseInt(what.slice(1), 16));
    const meant = ESCAPES.get(what);
    if (meant === undefined) throw refuse(place, `no such escape: ${spelled}`);
    return meant;
  });
}

function refuse({ line, column }: Omit<Value, 'text'>, text: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `plugin_data:${line}:${column}: ${text}`, { fields: { line, column } });
}

const KEYS: readonly string[] = ['mapping_file', 'mapping_sha256'];
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['n', '\n'],
  ['t', '\t'],
]);
const MAX_LENGTH = 64 * 1024;
const START = { line: 1, column: 1 };
