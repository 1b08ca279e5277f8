/**
 * Parsing of hostile protobuf bytes. A protobuf decoder forgives much: unknown fields, wrong wire types, a nested
 * message that runs past its parent, a singular field given twice, numbers cut to 32 bits. Two implementations that
 * forgive differently read one message differently, and that is an attack on a signed body. So the bytes are read
 * against the schema by a decoder of our own, and every departure is MALFORMED.
 */
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../errors.ts';
import { type FieldPlan, isNumeric, LENGTH_DELIMITED, type MessagePlan, planOf, VARINT } from './plan.ts';

/**
 * The message in `bytes`, which must hold it exactly: at most `maxBytes`, no unknown or repeated singular field, no
 * trailing byte. Byte fields of the result are views into `bytes`.
 * @throws ShellstreamError MALFORMED
 */
export function parseExact<Schema extends DescMessage>(
  schema: Schema,
  bytes: Uint8Array,
  maxBytes: number,
): MessageShape<Schema> {
  if (bytes.length > maxBytes) throw malformed(schema, `${bytes.length} bytes, at most ${maxBytes}`);
  const walk: Walk = { bytes, position: 0, elements: 0 };
  return readMessage(walk, planOf(schema), bytes.length, 1) as MessageShape<Schema>;
}

/** Deeper than any message of ours: against recursion that eats the stack. */
const MAX_DEPTH = 8;
/** Fields of all nested messages together: a 2-byte element must not become a 100-byte object 30,000 times. */
const MAX_ELEMENTS = 4_096;
const MAX_VARINT_BYTES = 10;
const LARGEST_TAG = 2 ** 32 - 1;
const LARGEST_LENGTH = 2 ** 32 - 1;

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

interface Walk {
  readonly bytes: Uint8Array;
  position: number;
  elements: number;
}

type Message = Record<string, unknown>;

function readMessage(walk: Walk, plan: MessagePlan, end: number, depth: number): Message {
  const { schema, byNumber } = plan;
  if (depth > MAX_DEPTH) throw malformed(schema, 'nested too deep');
  const message: Message = { ...plan.empty };
  for (const name of plan.lists) message[name] = [];
  const seen: boolean[] = [];
  while (walk.position < end) {
    const tag = readNumber(walk, schema, end, LARGEST_TAG);
    const number = tag >>> 3;
    const field = byNumber.get(number);
    if (field === undefined) throw malformed(schema, `unknown field ${number}`);
    if (seen[field.index] === true && !field.isList) throw malformed(schema, `field ${number} twice`);
    seen[field.index] = true;
    readField(walk, plan, field, message, tag & 7, end, depth);
  }
  return message;
}

function readField(
  walk: Walk,
  { schema }: MessagePlan,
  field: FieldPlan,
  message: Message,
  wireType: number,
  end: number,
  depth: number,
): void {
  const { shape } = field;
  countElement(walk, schema);
  if (wireType === VARINT && isNumeric(shape)) {
    put(schema, message, field, readScalar(walk, schema, field, end));
    return;
  }
  if (wireType !== LENGTH_DELIMITED) throw malformed(schema, `field ${field.number} of wire type ${wireType}`);
  const length = readNumber(walk, schema, end, LARGEST_LENGTH);
  const to = walk.position + length;
  if (to > end) throw malformed(schema, `field ${field.number} runs past its message`);
  switch (shape.kind) {
    case 'bytes':
      put(schema, message, field, walk.bytes.subarray(walk.position, to));
      walk.position = to;
      return;
    case 'text':
      put(schema, message, field, readText(schema, walk.bytes.subarray(walk.position, to)));
      walk.position = to;
      return;
    case 'message':
      put(schema, message, field, readMessage(walk, shape.plan(), to, depth + 1));
      return;
    case 'number':
    case 'boolean':
    case 'bigint':
      if (!field.isList) throw malformed(schema, `field ${field.number} is not repeated`);
      while (walk.position < to) {
        countElement(walk, schema);
        put(schema, message, field, readScalar(walk, schema, field, to));
      }
      return;
  }
}

function put(schema: DescMessage, message: Message, { name, choice, isList, number }: FieldPlan, value: unknown): void {
  if (isList) {
    (message[name] as unknown[]).push(value);
    return;
  }
  if (choice === undefined) {
    message[name] = value;
    return;
  }
  // Of two members of a choice one parser keeps the first and another the last.
  if ((message[choice] as { readonly case: unknown }).case !== undefined) {
    throw malformed(schema, `field ${number} beside another of ${choice}`);
  }
  message[choice] = { case: name, value };
}

function readScalar(walk: Walk, schema: DescMessage, { shape }: FieldPlan, end: number): number | boolean | bigint {
  if (shape.kind === 'number') return readNumber(walk, schema, end, shape.most);
  return shape.kind === 'boolean' ? readNumber(walk, schema, end, 1) === 1 : readBigint(walk, schema, end);
}

function readText(schema: DescMessage, bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw malformed(schema, 'text that is not UTF-8', cause);
  }
}

/** At most 2^32 - 1: a decoder would silently cut what is more. */
function readNumber(walk: Walk, schema: DescMessage, end: number, most: number): number {
  let value = 0;
  let scale = 1;
  for (let count = 0; count < MAX_VARINT_BYTES; count += 1) {
    const byte = nextByte(walk, schema, end);
    // Inexact above 2^53, where it is too much in any case.
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) {
      if (value > most) throw malformed(schema, `a number over ${most}`);
      return value;
    }
  }
  throw malformed(schema, 'a number over 64 bits');
}

/** Whole bytes of seven bits that a number holds exactly. */
const LOW_BITS = 49;

function readBigint(walk: Walk, schema: DescMessage, end: number): bigint {
  // Most have no more than these bits: what is counted in bigints byte by byte is garbage byte by byte.
  let low = 0;
  let scale = 1;
  for (let count = 0; count < LOW_BITS / 7; count += 1) {
    const byte = nextByte(walk, schema, end);
    low += (byte & 0x7f) * scale;
    if (byte < 0x80) return BigInt(low);
    scale *= 128;
  }
  let value = BigInt(low);
  for (let shift = BigInt(LOW_BITS); shift < 70n; shift += 7n) {
    const byte = nextByte(walk, schema, end);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (value >> 64n !== 0n) throw malformed(schema, 'a number over 64 bits');
      return value;
    }
  }
  throw malformed(schema, 'a number over 64 bits');
}

function nextByte(walk: Walk, schema: DescMessage, end: number): number {
  const byte = walk.position < end ? walk.bytes[walk.position] : undefined;
  if (byte === undefined) throw malformed(schema, 'ends inside a number');
  walk.position += 1;
  return byte;
}

function countElement(walk: Walk, schema: DescMessage): void {
  walk.elements += 1;
  if (walk.elements > MAX_ELEMENTS) throw malformed(schema, 'too many elements');
}

function malformed(schema: DescMessage, what: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${schema.name}: ${what}`, { cause });
}
