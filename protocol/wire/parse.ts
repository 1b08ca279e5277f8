/**
 * Parsing of hostile protobuf bytes. A protobuf decoder forgives much: unknown fields, wrong wire types, a nested
 * message that runs past its parent, a singular field given twice, numbers cut to 32 bits. Two implementations that
 * forgive differently read one message differently, and that is an attack on a signed body. So the bytes are first
 * walked against the schema, every departure is MALFORMED, and only then decoded.
 */
import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from '@bufbuild/protobuf';
import { ShellstreamError } from '../errors.ts';

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
  walkMessage(walk, schema, bytes.length, 1);
  try {
    return fromBinary(schema, bytes, { readUnknownFields: false });
  } catch (cause) {
    throw malformed(schema, 'does not decode', cause);
  }
}

/** Deeper than any message of ours: against recursion that eats the stack. */
const MAX_DEPTH = 8;
/** Fields of all nested messages together: a 2-byte element must not become a 100-byte object 30,000 times. */
const MAX_ELEMENTS = 4_096;

const VARINT = 0;
const LENGTH_DELIMITED = 2;

interface Walk {
  readonly bytes: Uint8Array;
  position: number;
  elements: number;
}

function walkMessage(walk: Walk, schema: DescMessage, end: number, depth: number): void {
  if (depth > MAX_DEPTH) throw malformed(schema, 'nested too deep');
  const seen = new Set<number>();
  while (walk.position < end) {
    const tag = Number(readVarint(walk, schema, end, 32));
    const number = tag >>> 3;
    const field = schema.fields.find((candidate) => candidate.number === number);
    if (field === undefined) throw malformed(schema, `unknown field ${number}`);
    if (seen.has(number) && field.fieldKind !== 'list') throw malformed(schema, `field ${number} twice`);
    seen.add(number);
    walkField(walk, field, tag & 7, end, depth);
  }
}

function walkField(walk: Walk, field: DescField, wireType: number, end: number, depth: number): void {
  walk.elements += 1;
  if (walk.elements > MAX_ELEMENTS) throw malformed(field.parent, 'too many elements');
  const shape = shapeOf(field);
  if (wireType === VARINT && shape.kind === 'varint') {
    readVarint(walk, field.parent, end, shape.bits);
    return;
  }
  if (wireType !== LENGTH_DELIMITED) throw malformed(field.parent, `field ${field.number} of wire type ${wireType}`);
  const length = Number(readVarint(walk, field.parent, end, 32));
  const fieldEnd = walk.position + length;
  if (fieldEnd > end) throw malformed(field.parent, `field ${field.number} runs past its message`);
  switch (shape.kind) {
    case 'bytes':
      walk.position = fieldEnd;
      return;
    case 'message':
      walkMessage(walk, shape.schema, fieldEnd, depth + 1);
      return;
    case 'varint':
      if (!shape.packable) throw malformed(field.parent, `field ${field.number} is not repeated`);
      while (walk.position < fieldEnd) {
        walk.elements += 1;
        if (walk.elements > MAX_ELEMENTS) throw malformed(field.parent, 'too many elements');
        readVarint(walk, field.parent, fieldEnd, shape.bits);
      }
      return;
  }
}

type Shape =
  | { readonly kind: 'varint'; readonly bits: 1 | 32 | 64; readonly packable: boolean }
  | { readonly kind: 'bytes' }
  | { readonly kind: 'message'; readonly schema: DescMessage };

const SHAPES = new WeakMap<DescField, Shape>();

function shapeOf(field: DescField): Shape {
  const known = SHAPES.get(field);
  if (known !== undefined) return known;
  const shape = computeShape(field);
  SHAPES.set(field, shape);
  return shape;
}

function computeShape(field: DescField): Shape {
  if (field.fieldKind === 'map') throw new ShellstreamError('INTERNAL', `no parser for map field ${field.name}`);
  if (field.message !== undefined) return { kind: 'message', schema: field.message };
  const packable = field.fieldKind === 'list';
  if (field.enum !== undefined) return { kind: 'varint', bits: 32, packable };
  switch (field.scalar) {
    case ScalarType.BOOL:
      return { kind: 'varint', bits: 1, packable };
    case ScalarType.UINT32:
      return { kind: 'varint', bits: 32, packable };
    case ScalarType.UINT64:
      return { kind: 'varint', bits: 64, packable };
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return { kind: 'bytes' };
    default:
      // A schema of ours with a type that this parser was never taught: refuse to run rather than to check less.
      throw new ShellstreamError('INTERNAL', `no parser for field ${field.parent.typeName}.${field.name}`);
  }
}

/** The value, which must fit `bits` unsigned: a decoder would silently cut it. */
function readVarint(walk: Walk, schema: DescMessage, end: number, bits: 1 | 32 | 64): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = walk.position < end ? walk.bytes[walk.position] : undefined;
    if (byte === undefined) throw malformed(schema, 'ends inside a number');
    walk.position += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (value >> BigInt(bits) !== 0n) throw malformed(schema, `a number over ${bits} bits`);
      return value;
    }
  }
  throw malformed(schema, 'a number over 64 bits');
}

function malformed(schema: DescMessage, what: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${schema.name}: ${what}`, { cause });
}
