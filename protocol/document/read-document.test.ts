import { expect, test } from 'vitest';
import { z } from 'zod';
import { MAX_DOCUMENT_BYTES, readDocument } from './read-document.ts';

const schema = z.strictObject({ name: z.string(), ports: z.array(z.int().min(1)).default([]) });

test('a document comes out as its schema’s value', () => {
  expect(read('name: web\nports: [80, 443]\n').value).toEqual({ name: 'web', ports: [80, 443] });
});

test('every problem is told at its own line and column, in order', () => {
  expect(message('name: 3\nports:\n  - 80\n  - 0\nextra: 1\nmore: 2\n').split('\n')).toEqual([
    expect.stringMatching(/^MALFORMED: x\.yaml:1:1: name: /),
    expect.stringMatching(/^x\.yaml:4:5: ports\.1: /),
    'x.yaml:5:1: extra: no such key',
    'x.yaml:6:1: more: no such key',
  ]);
});

test('a later refusal stands at the place of what it is about', () => {
  const document = read('name: web\nports: [80]\n');
  expect(document.refuse(['ports', 0], 'taken')).toMatchObject({ message: 'MALFORMED: x.yaml:2:9: ports.0: taken' });
  expect(document.refuse(['nowhere', 'at', 'all'], 'missing').message).toBe(
    'MALFORMED: x.yaml:1:1: nowhere.at.all: missing',
  );
});

test.each<readonly [string, string, RegExp]>([
  ['an alias: a bomb of them expands without end', 'name: *a\n', /alias/i],
  ['an anchor', 'name: &a x\n', /anchors are not allowed/],
  ['a key twice: readers disagree which one counts', 'name: a\nname: b\n', /x\.yaml:2:1: "name" stands here twice/],
  ['a key twice in two spellings', 'name: a\n"name": b\n', /stands here twice/],
  ['a tag', 'name: !!binary aGk=\n', /tag|Unresolved/],
  ['a tag of a program', 'name: !ruby/object x\n', /tag|Unresolved/],
  ['a merge key', '<<: {name: x}\n', /<<: no such key/],
  ['a map as a key', '? {a: 1}\n: x\n', /a key must be a word/],
  ['two documents', 'name: a\n---\nname: b\n', /document/],
  ['a prototype', '__proto__: {name: x}\nname: y\n', /__proto__: no such key/],
  ['nothing', '', /expected object/],
  ['bad YAML', 'name: [1\n', /x\.yaml:\d+:\d+/],
])('%s is refused', (_what, text, problem) => {
  expect(message(text)).toMatch(problem);
});

test('nesting that would exhaust the stack is refused as any mistake is', () => {
  expect(message(`name: ${'['.repeat(100_000)}`)).toMatch(/^MALFORMED: x\.yaml/);
  expect(message(`name: ${'['.repeat(40)}${']'.repeat(40)}`)).toMatch(/nested deeper than 32/);
});

test('many keys cost no more than their length: comparing each with each would stall the reader', () => {
  const keys = Array.from({ length: 20_000 }, (_, at) => `k${at}: 1`).join('\n');
  expect(message(keys)).toMatch(/and \d+ more$/);
});

test('longer than the limit or not UTF-8 is refused unread', () => {
  expect(() => readDocument('x', new Uint8Array(MAX_DOCUMENT_BYTES + 1), () => schema)).toThrow(/longer than/);
  expect(() => readDocument('x', Uint8Array.of(0xc3, 0x28), () => schema)).toThrow(/not UTF-8/);
});

function read(text: string) {
  return readDocument('x.yaml', new TextEncoder().encode(text), () => schema);
}

function message(text: string): string {
  try {
    read(text);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error('it was accepted');
}
