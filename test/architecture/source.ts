import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { parseSync } from '@swc/core';

/** A TypeScript file, as far as the rules of this folder look at it. */
export interface Source {
  /** From the root of the tree, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
  /** Global-looking names in use: `setTimeout`, and of members the dotted form too, `Date.now`. */
  readonly names: ReadonlySet<string>;
  /** Every string literal, imports included. */
  readonly strings: ReadonlySet<string>;
  readonly saysAny: boolean;
}

export interface Import {
  readonly specifier: string;
  /** Path from the root for a relative import; `undefined` when there is no such file. Packages keep their name. */
  readonly target: string | undefined;
  readonly kind: 'file' | 'package' | 'builtin';
}

/**
 * Reads all TypeScript below these folders of `root`, generated code aside. Type-only imports, `import('x')` types and
 * re-exports are imports like others: a layer that knows a higher one's types depends on it.
 */
export function readTree(root: string, folders: readonly string[]): Source[] {
  return folders
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => !/(^|\/)(gen|node_modules|target)\//.test(path) && !path.endsWith('.d.ts'))
    .toSorted()
    .map((path) => readSource(root, path));
}

function readSource(root: string, path: string): Source {
  const text = readFileSync(join(root, path), 'utf8');
  const found: Found = { specifiers: new Set(), names: new Set(), strings: new Set(), saysAny: false };
  visit(parseSync(text, { syntax: 'typescript', target: 'es2024' }), found);
  const imports = [...found.specifiers].map((specifier) => resolve(root, path, specifier));
  return { path, text, imports, names: found.names, strings: found.strings, saysAny: found.saysAny };
}

function resolve(root: string, from: string, specifier: string): Import {
  if (specifier.startsWith('.')) {
    const target = posix.join(dirname(from), specifier);
    return { specifier, kind: 'file', target: existsSync(join(root, target)) ? target : undefined };
  }
  if (specifier.startsWith('node:')) return { specifier, kind: 'builtin', target: specifier };
  const [scope, name] = specifier.split('/');
  return { specifier, kind: 'package', target: scope?.startsWith('@') ? `${scope}/${name}` : scope };
}

interface Found {
  readonly specifiers: Set<string>;
  readonly names: Set<string>;
  readonly strings: Set<string>;
  saysAny: boolean;
}

/** Over any node of the tree, whatever its kind: syntax that this file has never heard of is walked through all the same. */
function visit(node: unknown, found: Found): void {
  if (Array.isArray(node)) {
    for (const child of node) visit(child, found);
    return;
  }
  if (!isNode(node)) return;
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
      addSpecifier(node.source, found);
      break;
    case 'TsImportType':
      addSpecifier(node.argument, found);
      break;
    case 'CallExpression':
      if (isNode(node.callee) && (node.callee.type === 'Import' || node.callee.value === 'require')) {
        const first: unknown = Array.isArray(node.arguments) ? node.arguments[0] : undefined;
        if (isNode(first)) addSpecifier(first.expression, found);
      }
      break;
    case 'StringLiteral':
      found.strings.add(String(node.value));
      break;
    case 'TemplateElement':
      found.strings.add(String(node.cooked));
      break;
    case 'TsKeywordType':
      found.saysAny ||= node.kind === 'any';
      break;
    case 'Identifier':
      found.names.add(String(node.value));
      break;
    case 'MemberExpression':
      visitMember(node, found);
      return;
  }
  for (const [key, child] of Object.entries(node)) {
    // `{ performance: 1 }` and `interface { process: … }` name no global.
    if (key !== 'key') visit(child, found);
  }
}

/** `a.b.c` names `a`, `a.b` and `b.c`, so that `globalThis.Date.now` is as visible as `Date.now`. */
function visitMember(node: Node, found: Found): void {
  const { object, property } = node;
  visit(object, found);
  if (!isNode(property) || property.type !== 'Identifier') {
    visit(property, found);
    return;
  }
  if (!isNode(object)) return;
  const owner = object.type === 'MemberExpression' && isNode(object.property) ? object.property : object;
  if (owner.type === 'Identifier') found.names.add(`${owner.value}.${property.value}`);
  if (owner.value === 'globalThis') found.names.add(String(property.value));
}

function addSpecifier(node: unknown, found: Found): void {
  if (isNode(node) && node.type === 'StringLiteral') found.specifiers.add(String(node.value));
}

type Node = Record<string, unknown>;
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value);
