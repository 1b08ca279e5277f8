/** A schema as the parser and the writer beside this file walk it: computed once for each message type. */
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { ShellstreamError } from '../errors.ts';

export interface MessagePlan {
  readonly schema: DescMessage;
  /** In the order of their numbers. */
  readonly fields: readonly FieldPlan[];
  readonly byNumber: ReadonlyMap<number, FieldPlan>;
  /** A message with nothing set, but for the lists, which every message has of its own. */
  readonly empty: Readonly<Record<string, unknown>>;
  readonly lists: readonly string[];
}

export interface FieldPlan {
  readonly number: number;
  /** Its place in `fields`. */
  readonly index: number;
  readonly name: string;
  readonly isList: boolean;
  /** Absent and empty are two things: a message, or a field that the schema says `optional` of. */
  readonly isOptional: boolean;
  /** The name of the choice it is a member of. */
  readonly choice: string | undefined;
  readonly shape: Shape;
  /** Number and wire type as they stand in front of the field; lists of numbers are written packed. */
  readonly tag: number;
}

export type Shape =
  /** The largest value, 2^32 - 1 for enums too. */
  | { readonly kind: 'number'; readonly most: number }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'bigint' }
  | { readonly kind: 'bytes' }
  | { readonly kind: 'text' }
  | { readonly kind: 'message'; plan(): MessagePlan };

export const VARINT = 0;
export const LENGTH_DELIMITED = 2;

const PLANS = new WeakMap<DescMessage, MessagePlan>();

export function planOf(schema: DescMessage): MessagePlan {
  const known = PLANS.get(schema);
  if (known !== undefined) return known;
  const plan = compute(schema);
  PLANS.set(schema, plan);
  return plan;
}

export function isNumeric(shape: Shape): boolean {
  return shape.kind === 'number' || shape.kind === 'boolean' || shape.kind === 'bigint';
}

function compute(schema: DescMessage): MessagePlan {
  const fields = [...schema.fields].sort((a, b) => a.number - b.number).map(planField);
  const empty: Record<string, unknown> = { $typeName: schema.typeName };
  for (const { name, choice, shape, isOptional } of fields) {
    if (choice !== undefined) empty[choice] = UNDECIDED;
    else if (!isOptional) empty[name] = emptyValue(shape);
  }
  return {
    schema,
    fields,
    byNumber: new Map(fields.map((field) => [field.number, field])),
    empty,
    lists: fields.filter(({ isList }) => isList).map(({ name }) => name),
  };
}

/** `IMPLICIT` of google.protobuf.FeatureSet.FieldPresence. */
const IMPLICIT = 2;
const UNDECIDED = { case: undefined };
const NO_BYTES = new Uint8Array(0);

function planField(field: DescField, index: number): FieldPlan {
  const shape = shapeOf(field);
  const isList = field.fieldKind === 'list';
  const wireType = isNumeric(shape) && !isList ? VARINT : LENGTH_DELIMITED;
  return {
    number: field.number,
    index,
    name: field.localName,
    isList,
    isOptional: !isList && field.presence !== IMPLICIT,
    choice: field.oneof?.localName,
    shape,
    tag: field.number * 8 + wireType,
  };
}

function shapeOf(field: DescField): Shape {
  if (field.fieldKind === 'map') throw unknown(field);
  const { message } = field;
  if (message !== undefined) return { kind: 'message', plan: () => planOf(message) };
  if (field.enum !== undefined) return { kind: 'number', most: 2 ** 32 - 1 };
  switch (field.scalar) {
    case ScalarType.BOOL:
      return { kind: 'boolean' };
    case ScalarType.UINT32:
      return { kind: 'number', most: 2 ** 32 - 1 };
    case ScalarType.UINT64:
      return { kind: 'bigint' };
    case ScalarType.STRING:
      return { kind: 'text' };
    case ScalarType.BYTES:
      return { kind: 'bytes' };
    default:
      throw unknown(field);
  }
}

function emptyValue(shape: Shape): unknown {
  switch (shape.kind) {
    case 'number':
      return 0;
    case 'boolean':
      return false;
    case 'bigint':
      return 0n;
    case 'bytes':
      return NO_BYTES;
    case 'text':
      return '';
    case 'message':
      return undefined;
  }
}

/** A schema of ours with a type that nobody taught us: refuse to run rather than to check less. */
function unknown(field: DescField): ShellstreamError {
  return new ShellstreamError('INTERNAL', `no parser for field ${field.parent.typeName}.${field.name}`);
}
