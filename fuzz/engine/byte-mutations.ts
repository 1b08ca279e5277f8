/** Changes that know nothing of what the bytes mean. */
import type { Random } from './random.ts';

export interface Material {
  readonly random: Random;
  readonly dictionary: readonly Uint8Array[];
  /** Another input, to take pieces from. */
  readonly donor: Uint8Array;
}

/** One change; the result is never the same object. */
export function mutateBytes(bytes: Uint8Array, material: Material): Uint8Array {
  const { random } = material;
  const mutation = random.pick(MUTATIONS) ?? insertRandom;
  return mutation(bytes, material);
}

type Mutation = (bytes: Uint8Array, material: Material) => Uint8Array;

const flipBit: Mutation = (bytes, { random }) =>
  changed(bytes, random.below(bytes.length), (byte) => byte ^ (1 << random.below(8)));

const setByte: Mutation = (bytes, { random }) =>
  changed(bytes, random.below(bytes.length), () => random.pick(EDGES) ?? random.below(256));

const addToByte: Mutation = (bytes, { random }) =>
  changed(bytes, random.below(bytes.length), (byte) => byte + (random.once(2) ? 1 : -1) * (1 + random.below(16)));

/** A number of 2, 4 or 8 bytes, either order, set to an edge or moved by a little. */
const changeWord: Mutation = (bytes, { random }) => {
  const size = random.pick([2, 4, 8]) ?? 2;
  if (bytes.length < size) return setByte(bytes, { random, dictionary: [], donor: bytes });
  const copy = Uint8Array.from(bytes);
  const at = random.below(bytes.length - size + 1);
  const little = random.once(2);
  const view = new DataView(copy.buffer);
  const edge = random.pick(WORD_EDGES) ?? 0n;
  const delta = BigInt(random.below(32) - 16);
  const value = random.once(2) ? edge : read(view, at, size, little) + delta;
  if (size === 2) view.setUint16(at, Number(BigInt.asUintN(16, value)), little);
  else if (size === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), little);
  else view.setBigUint64(at, BigInt.asUintN(64, value), little);
  return copy;
};

/** Somewhere stands a length of what follows: one byte, or two or four big-endian. It comes to lie, or to fit again. */
const changeLength: Mutation = (bytes, { random }) => {
  const size = random.pick([1, 2, 4]) ?? 1;
  if (bytes.length <= size) return flipBit(bytes, { random, dictionary: [], donor: bytes });
  const copy = Uint8Array.from(bytes);
  const at = random.below(bytes.length - size);
  const left = bytes.length - at - size;
  let value = random.pick([left, left + 1, left - 1, 0, random.below(left + 1)]) ?? left;
  for (let byte = size - 1; byte >= 0; byte -= 1) {
    copy[at + byte] = value & 0xff;
    value >>>= 8;
  }
  return copy;
};

const remove: Mutation = (bytes, { random }) => {
  const [from, to] = span(bytes, random);
  return spliced(bytes, from, to, EMPTY);
};

const repeat: Mutation = (bytes, { random }) => {
  const [from, to] = span(bytes, random);
  const piece = bytes.subarray(from, to);
  const times = 1 + (random.once(8) ? random.below(32) : random.below(3));
  return spliced(bytes, to, to, Buffer.concat(Array.from({ length: times }, () => piece)));
};

const insertRandom: Mutation = (bytes, { random }) => {
  const at = random.below(bytes.length + 1);
  return spliced(bytes, at, at, random.bytes(1 + random.below(8)));
};

const cut: Mutation = (bytes, { random }) => bytes.slice(0, random.below(bytes.length + 1));

const move: Mutation = (bytes, { random }) => {
  const [from, to] = span(bytes, random);
  const rest = spliced(bytes, from, to, EMPTY);
  const at = random.below(rest.length + 1);
  return spliced(rest, at, at, bytes.subarray(from, to));
};

const takeFromDonor: Mutation = (bytes, { random, donor }) => {
  const [from, to] = span(donor, random);
  const [start, end] = random.once(2) ? span(bytes, random) : [bytes.length, bytes.length];
  return spliced(bytes, start, end, donor.subarray(from, to));
};

const takeWord: Mutation = (bytes, { random, dictionary }) => {
  const word = random.pick(dictionary) ?? random.bytes(2);
  const at = random.below(bytes.length + 1);
  return spliced(bytes, at, random.once(2) ? at + word.length : at, word);
};

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  addToByte,
  changeWord,
  changeLength,
  remove,
  repeat,
  insertRandom,
  cut,
  move,
  takeFromDonor,
  takeWord,
  takeWord,
];

const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x30];
const WORD_EDGES = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn, -1n];
const EMPTY = new Uint8Array(0);

export function spliced(bytes: Uint8Array, from: number, to: number, put: Uint8Array): Uint8Array {
  return Uint8Array.from(Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(to)]));
}

function changed(bytes: Uint8Array, at: number, to: (byte: number) => number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  if (copy.length > 0) copy[at] = to(copy[at] ?? 0);
  return copy;
}

/** A piece, mostly a short one. */
function span(bytes: Uint8Array, random: Random): readonly [number, number] {
  const from = random.below(bytes.length + 1);
  const most = bytes.length - from;
  return [from, from + Math.min(most, 1 + random.below(random.once(4) ? most : Math.min(most, 16)))];
}

function read(view: DataView, at: number, size: number, little: boolean): bigint {
  if (size === 2) return BigInt(view.getUint16(at, little));
  return size === 4 ? BigInt(view.getUint32(at, little)) : view.getBigUint64(at, little);
}
