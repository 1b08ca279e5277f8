/**
 * Documents that people write — accords, configuration — as YAML text checked against a schema. Strict, bounded,
 * and every refusal names its place, so that a mistake is mended without guessing.
 */
import type { z } from 'zod';
import { ShellstreamError } from '../errors.ts';
import { malformedAt, parseYamlTree, type YamlTree } from './yaml-tree.ts';

export const MAX_DOCUMENT_BYTES = 256 * 1024;

/** At most so many problems are told at once. */
const MAX_PROBLEMS = 20;

/** A value that passed its schema, and the way to refuse it later at the place where it stands. */
export interface ReadDocument<T> {
  readonly value: T;
  /** MALFORMED with the place of `path`. */
  refuse(path: readonly PropertyKey[], text: string): ShellstreamError;
}

/**
 * UTF-8 bytes (at most 256 KiB) → value. `name` stands in front of each error; `schemaFor` picks the schema by the
 * document's own plain value. Throws MALFORMED.
 */
export function readDocument<T>(
  name: string,
  bytes: Uint8Array,
  schemaFor: (plain: unknown) => z.ZodType<T>,
): ReadDocument<T> {
  const tree = parseYamlTree(name, decode(name, bytes));
  const result = schemaFor(tree.value).safeParse(tree.value, { reportInput: false });
  if (!result.success) throw problemsOf(name, tree, result.error.issues);
  return {
    value: result.data,
    refuse: (path, text) => malformedAt(name, tree.place(path), `${dotted(path)}: ${text}`),
  };
}

function decode(name: string, bytes: Uint8Array): string {
  if (bytes.length > MAX_DOCUMENT_BYTES) {
    throw new ShellstreamError('MALFORMED', `${name}: longer than ${MAX_DOCUMENT_BYTES} bytes`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ShellstreamError('MALFORMED', `${name}: not UTF-8`, { cause });
  }
}

function problemsOf(name: string, tree: YamlTree, issues: readonly z.core.$ZodIssue[]): ShellstreamError {
  const problems = issues.flatMap(problemsOfIssue).map(({ path, text }) => ({
    place: tree.place(path),
    text: path.length === 0 ? text : `${dotted(path)}: ${text}`,
  }));
  problems.sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column);
  const [first] = problems;
  if (first === undefined) return new ShellstreamError('MALFORMED', `${name}: does not fit its schema`);
  const lines = problems.map(({ place, text }) => `${name}:${place.line}:${place.column}: ${text}`);
  const left = lines.length - MAX_PROBLEMS;
  const told = [...lines.slice(0, MAX_PROBLEMS), ...(left > 0 ? [`and ${left} more`] : [])];
  return new ShellstreamError('MALFORMED', told.join('\n'), { fields: { ...first.place } });
}

function problemsOfIssue(issue: z.core.$ZodIssue): { path: readonly PropertyKey[]; text: string }[] {
  if (issue.code !== 'unrecognized_keys') return [{ path: issue.path, text: issue.message }];
  return issue.keys.map((key) => ({ path: [...issue.path, key], text: 'no such key' }));
}

function dotted(path: readonly PropertyKey[]): string {
  return path.map(String).join('.');
}
