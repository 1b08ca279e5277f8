/** DER, with the octet strings opened that hold DER themselves, as those of certificate extensions do. */
import type { Element, Grammar } from './format.ts';

const OCTET_STRING = 0x04;
const CONSTRUCTED = 0x20;

export const der: Grammar = {
  tags: [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x30, 0x31, 0x80, 0x81, 0x82, 0x86, 0x87, 0xa0,
    0xa1, 0xa3,
  ],
  decode: (bytes) => decode(bytes, 0),
  encode,
};

function decode(bytes: Uint8Array, depth: number): Element[] | undefined {
  const elements: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0x80;
    const count = first < 0x80 ? 0 : first & 0x7f;
    if (count > 3 || first === 0x80) return undefined;
    let length = count === 0 ? first : 0;
    for (let n = 0; n < count; n += 1) length = length * 256 + (bytes[at + 2 + n] ?? 0);
    const from = at + 2 + count;
    if (from + length > bytes.length) return undefined;
    const body = bytes.slice(from, from + length);
    const mayNest = (tag & CONSTRUCTED) !== 0 || (tag === OCTET_STRING && length > 1);
    const inside = mayNest && depth < 16 ? decode(body, depth + 1) : undefined;
    elements.push({ tag, body: inside ?? body });
    at = from + length;
  }
  return elements;
}

function encode(elements: readonly Element[]): Uint8Array {
  return Buffer.concat(
    elements.flatMap(({ tag, body }) => {
      const content = body instanceof Uint8Array ? body : encode(body);
      return [Uint8Array.of(tag, ...lengthOf(content.length)), content];
    }),
  );
}

function lengthOf(length: number): readonly number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}
