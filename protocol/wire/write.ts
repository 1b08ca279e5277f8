/**
 * Protobuf bytes of our own messages: fields in the order of their numbers, nothing that has its default value, lists of
 * numbers packed. The same bytes as the library's encoder, for a fraction of its work.
 */
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../errors.ts';
import { type FieldPlan, isNumeric, type MessagePlan, planOf, type Shape } from './plan.ts';

/** @param message what is left out has its default value; a nested message may be given the same way. */
export function writeMessage<Schema extends DescMessage>(
  schema: Schema,
  message: MessageInitShape<Schema>,
): Uint8Array {
  const plan = planOf(schema);
  const bytes = new Uint8Array(sizeOfMessage(plan, message));
  const end = putMessage(bytes, 0, plan, message);
  if (end !== bytes.length) throw new ShellstreamError('INTERNAL', `${schema.name} changed while it was written`);
  return bytes;
}

const UTF8 = new TextEncoder();

function sizeOfMessage(plan: MessagePlan, message: object): number {
  let size = 0;
  for (const field of plan.fields) {
    const value = fieldOf(field, message);
    if (value === undefined) continue;
    size += field.isList ? sizeOfList(field, value as readonly unknown[]) : sizeOfField(field, value);
  }
  return size;
}

function sizeOfList(field: FieldPlan, list: readonly unknown[]): number {
  if (isNumeric(field.shape)) {
    const content = sizeOfPacked(field.shape, list);
    return content === 0 ? 0 : varintSize(field.tag) + varintSize(content) + content;
  }
  let size = 0;
  for (const item of list) size += sizeOfField(field, item);
  return size;
}

function sizeOfPacked(shape: Shape, list: readonly unknown[]): number {
  let size = 0;
  for (const item of list) size += sizeOfScalar(shape, item);
  return size;
}

function sizeOfField({ shape, tag }: FieldPlan, value: unknown): number {
  if (isNumeric(shape)) return varintSize(tag) + sizeOfScalar(shape, value);
  const content = sizeOfContent(shape, value);
  return varintSize(tag) + varintSize(content) + content;
}

function sizeOfContent(shape: Shape, value: unknown): number {
  if (shape.kind === 'message') return sizeOfMessage(shape.plan(), value as object);
  return shape.kind === 'text' ? utf8Size(value as string) : (value as Uint8Array).length;
}

function sizeOfScalar(shape: Shape, value: unknown): number {
  switch (shape.kind) {
    case 'number': {
      const number = value as number;
      // A larger one would be cut, a negative one or a fraction has no encoding.
      if (!Number.isInteger(number) || number < 0 || number > shape.most) {
        throw new ShellstreamError('INTERNAL', `no 32-bit number: ${number}`);
      }
      return varintSize(number);
    }
    case 'bigint':
      return bigintSize(value as bigint);
    case 'boolean':
      return 1;
    case 'bytes':
    case 'text':
    case 'message':
      throw new ShellstreamError('INTERNAL', `${shape.kind} is no number`);
  }
}

function putMessage(bytes: Uint8Array, start: number, plan: MessagePlan, message: object): number {
  let at = start;
  for (const field of plan.fields) {
    const value = fieldOf(field, message);
    if (value === undefined) continue;
    at = field.isList ? putList(bytes, at, field, value as readonly unknown[]) : putField(bytes, at, field, value);
  }
  return at;
}

function putList(bytes: Uint8Array, start: number, field: FieldPlan, list: readonly unknown[]): number {
  let at = start;
  if (isNumeric(field.shape)) {
    const content = sizeOfPacked(field.shape, list);
    if (content === 0) return at;
    at = putVarint(bytes, putVarint(bytes, at, field.tag), content);
    for (const item of list) at = putScalar(bytes, at, field.shape, item);
    return at;
  }
  for (const item of list) at = putField(bytes, at, field, item);
  return at;
}

function putField(bytes: Uint8Array, start: number, { shape, tag }: FieldPlan, value: unknown): number {
  const at = putVarint(bytes, start, tag);
  switch (shape.kind) {
    case 'number':
    case 'boolean':
    case 'bigint':
      return putScalar(bytes, at, shape, value);
    case 'message':
      return putMessage(bytes, putVarint(bytes, at, sizeOfContent(shape, value)), shape.plan(), value as object);
    case 'text': {
      const length = utf8Size(value as string);
      const from = putVarint(bytes, at, length);
      UTF8.encodeInto(value as string, bytes.subarray(from, from + length));
      return from + length;
    }
    case 'bytes': {
      const content = value as Uint8Array;
      const from = putVarint(bytes, at, content.length);
      bytes.set(content, from);
      return from + content.length;
    }
  }
}

function putScalar(bytes: Uint8Array, at: number, shape: Shape, value: unknown): number {
  if (shape.kind === 'bigint') return putBigint(bytes, at, value as bigint);
  return putVarint(bytes, at, shape.kind === 'boolean' ? Number(value) : (value as number));
}

/** What is to be written of a field, undefined for nothing. A member of a choice is written even with its default. */
function fieldOf({ name, choice, shape, isList, isOptional }: FieldPlan, message: object): unknown {
  if (choice !== undefined) {
    const chosen = (message as Record<string, { readonly case?: string; readonly value?: unknown } | undefined>)[
      choice
    ];
    return chosen?.case === name ? chosen.value : undefined;
  }
  const value = (message as Record<string, unknown>)[name];
  if (value === undefined || isList || isOptional) return value;
  switch (shape.kind) {
    case 'number':
      return value === 0 ? undefined : value;
    case 'boolean':
      return value === true ? true : undefined;
    case 'bigint':
      return value === 0n ? undefined : value;
    case 'bytes':
      return (value as Uint8Array).length === 0 ? undefined : value;
    case 'text':
      return value === '' ? undefined : value;
    case 'message':
      return value;
  }
}

function putVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    bytes[at] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 0x80);
    at += 1;
  }
  bytes[at] = rest;
  return at + 1;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

function putBigint(bytes: Uint8Array, start: number, value: bigint): number {
  if (value <= LARGEST_EXACT) return putVarint(bytes, start, Number(value));
  let at = start;
  let rest = value;
  while (rest >= 0x80n) {
    bytes[at] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
    at += 1;
  }
  bytes[at] = Number(rest);
  return at + 1;
}

function bigintSize(value: bigint): number {
  if (value < 0n || value > LARGEST_UINT64) throw new ShellstreamError('INTERNAL', `no 64-bit number: ${value}`);
  if (value <= LARGEST_EXACT) return varintSize(Number(value));
  let size = 1;
  for (let rest = value; rest >= 0x80n; rest >>= 7n) size += 1;
  return size;
}

const LARGEST_EXACT = BigInt(Number.MAX_SAFE_INTEGER);
const LARGEST_UINT64 = 2n ** 64n - 1n;

function utf8Size(text: string): number {
  let size = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x80) continue;
    size += 1;
    // A pair takes four bytes, two for each of its halves; half of a pair alone is written as U+FFFD.
    if (code >= 0x800 && !isPairAt(text, i, code)) size += 1;
  }
  return size;
}

function isPairAt(text: string, i: number, code: number): boolean {
  if (code >= 0xd800 && code < 0xdc00) return isLow(text.charCodeAt(i + 1));
  return isLow(code) && i > 0 && text.charCodeAt(i - 1) >= 0xd800 && text.charCodeAt(i - 1) < 0xdc00;
}

function isLow(code: number): boolean {
  return code >= 0xdc00 && code < 0xe000;
}
