import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { ShellstreamError } from '../errors.ts';

/** Far above any real accord or configuration; below what exhausts the stack of whoever walks the value. */
const MAX_DEPTH = 32;

/** Where something stands in a document, both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** A document's plain value, and where each part of it stands. */
export interface YamlTree {
  readonly value: unknown;
  /** The place of the key or item at `path`, or of its nearest ancestor that exists. */
  place(path: readonly PropertyKey[]): Place;
}

/**
 * Strict YAML 1.2: one document, string keys, each once; no aliases (expansion bombs, and one edit that changes two
 * places), no tags, no warnings. Errors are MALFORMED and begin with `name:line:column`.
 */
export function parseYamlTree(name: string, text: string): YamlTree {
  const lines = new LineCounter();
  const root = compose(name, text, lines);
  const places = new Map<string, number>();
  const placeOf = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const refuse = (offset: number, text: string): never => {
    throw malformedAt(name, placeOf(offset), text);
  };

  const read = (node: Node | null, path: readonly string[], offset: number): unknown => {
    if (node === null) return null;
    const at = node.range?.[0] ?? offset;
    if (path.length > MAX_DEPTH) return refuse(at, `nested deeper than ${MAX_DEPTH}`);
    if (isAlias(node)) return refuse(at, 'aliases are not allowed');
    if (node.anchor !== undefined) refuse(at, 'anchors are not allowed');
    if (node.tag !== undefined && !CORE_TAGS.has(node.tag)) refuse(at, `tag ${node.tag} is not allowed`);
    if (isScalar(node)) return node.value;
    if (isSeq<Node | null>(node)) {
      return node.items.map((item, index) => {
        places.set(keyOf([...path, String(index)]), item?.range?.[0] ?? at);
        return read(item, [...path, String(index)], at);
      });
    }
    if (!isMap<Node, Node | null>(node)) return refuse(at, 'neither a value, a list nor a map');
    // Built from entries: a key named __proto__ stays a key.
    const entries = new Map<string, unknown>();
    for (const { key, value } of node.items) {
      const keyAt = key.range?.[0] ?? at;
      const word =
        isScalar(key) && key.anchor === undefined ? String(key.value) : refuse(keyAt, 'a key must be a word');
      if (entries.has(word)) refuse(keyAt, `${JSON.stringify(word)} stands here twice`);
      places.set(keyOf([...path, word]), keyAt);
      entries.set(word, read(value, [...path, word], keyAt));
    }
    return Object.fromEntries(entries);
  };

  const value = read(root, [], 0);
  return {
    value,
    place(path) {
      for (let length = path.length; length > 0; length--) {
        const offset = places.get(keyOf(path.slice(0, length)));
        if (offset !== undefined) return placeOf(offset);
      }
      return { line: 1, column: 1 };
    },
  };
}

/** The refusal of a document, with its place in front as compilers print it. */
export function malformedAt(name: string, place: Place, text: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${name}:${place.line}:${place.column}: ${text}`, { fields: { ...place } });
}

/** What the core schema resolves untagged nodes to. */
const CORE_TAGS: ReadonlySet<string> = new Set(
  ['map', 'seq', 'str', 'int', 'float', 'bool', 'null'].map((kind) => `tag:yaml.org,2002:${kind}`),
);

function compose(name: string, text: string, lines: LineCounter): Node | null {
  // The library compares each key with all others of its map; `read` finds duplicates in linear time.
  const options = { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: false, version: '1.2' } as const;
  try {
    const document = parseDocument(text, options);
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) {
      const { line, col } = lines.linePos(problem.pos[0]);
      throw malformedAt(name, { line, column: col }, problem.message);
    }
    return document.contents;
  } catch (error) {
    if (error instanceof ShellstreamError) throw error;
    // The composer recurses: a quarter of a megabyte of "[" ends its stack.
    throw new ShellstreamError('MALFORMED', `${name}: cannot be read`, { cause: error });
  }
}

function keyOf(path: readonly PropertyKey[]): string {
  return path.map((part) => JSON.stringify(String(part))).join();
}
