/**
 * How an input is built, for mutations that leave it well-formed: so that they get past the outer parser, with every
 * length around them put right again.
 */
import type { Material } from '../engine/byte-mutations.ts';

export interface Format {
  /** One change that keeps to the format; undefined when the bytes are not of it. */
  mutate(bytes: Uint8Array, material: Material): Uint8Array | undefined;
}

/** Formats made of elements with a tag and a length: protobuf, DER, sequences. */
export interface Grammar {
  decode(bytes: Uint8Array): Element[] | undefined;
  encode(elements: readonly Element[]): Uint8Array;
  /** Tags that something may be given for another; none: tags stay. */
  readonly tags: readonly number[];
}

export interface Element {
  tag: number;
  /** Elements inside, or bytes. */
  body: Uint8Array | Element[];
  /** Of the elements inside, where they are not of the same kind. */
  readonly grammar?: Grammar;
}
