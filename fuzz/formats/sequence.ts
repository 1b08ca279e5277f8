/** Inputs that are several things: pieces one behind the other, and a head of fixed size in front of something. */
import { spliced } from '../engine/byte-mutations.ts';
import type { Element, Format, Grammar } from './format.ts';

/** `u16 big-endian length ‖ piece`, again and again; a tail that does not fit is the last piece. */
export function pieces(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let at = 0; at + 1 < bytes.length; ) {
    const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    found.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return found;
}

export function joined(list: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(list.flatMap((piece) => [Uint8Array.of(piece.length >> 8, piece.length & 0xff), piece]));
}

/** The grammar of {@link pieces}, each piece behind a head of so many bytes being of the inner grammar, if it fits. */
export function sequenceOf(inner: Grammar, headBytes = 0): Grammar {
  return {
    tags: [],
    decode: (bytes) =>
      pieces(bytes).map((piece): Element => {
        const head: Element = { tag: HEAD, body: piece.slice(0, headBytes) };
        const rest = piece.slice(headBytes);
        const inside = rest.length > 0 ? inner.decode(rest) : undefined;
        return { tag: 0, body: [head, { tag: REST, body: inside ?? rest, grammar: inner }], grammar: FLAT };
      }),
    encode: (elements) =>
      joined(elements.map((element) => flat(element, inner)).map((piece) => piece.subarray(0, 0xffff))),
  };
}

/** Pieces that are bytes and nothing more. */
export const opaque: Grammar = { tags: [], decode: () => undefined, encode: () => new Uint8Array() };

const HEAD = 1;
const REST = 2;
const FLAT: Grammar = { tags: [], decode: () => undefined, encode: (list) => flat({ tag: 0, body: [...list] }, FLAT) };

function flat({ body, tag }: Element, inner: Grammar): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return tag === REST ? inner.encode(body) : Buffer.concat(body.map((element) => flat(element, inner)));
}

/** The format behind a head of so many bytes, which now and then changes too. */
export function behind(headBytes: number, inner: Format): Format {
  return {
    mutate(bytes, material) {
      const { random } = material;
      if (bytes.length < headBytes || random.once(8)) return undefined;
      const donor = material.donor.subarray(headBytes);
      const rest = inner.mutate(bytes.slice(headBytes), { ...material, donor });
      return rest === undefined ? undefined : spliced(rest, 0, 0, bytes.subarray(0, headBytes));
    },
  };
}
