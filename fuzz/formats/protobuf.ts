/** The wire format of protobuf, read without a schema: what could be a message is taken for one. */
import type { Element, Grammar } from './format.ts';

export const protobuf: Grammar = {
  tags: Array.from({ length: 20 }, (_, number) => [(number << 3) | 0, (number << 3) | 2]).flat(),
  decode: (bytes) => decode(bytes, 0),
  encode,
};

function decode(bytes: Uint8Array, depth: number): Element[] | undefined {
  const elements: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = varint(bytes, at);
    if (tag === undefined || tag.value >> 3 === 0 || tag.value > 0x7ff) return undefined;
    at = tag.end;
    const wire = tag.value & 7;
    const value = varint(bytes, at);
    if (value === undefined || (wire !== 0 && wire !== 2)) return undefined;
    if (wire === 0) {
      elements.push({ tag: tag.value, body: bytes.slice(at, value.end) });
      at = value.end;
      continue;
    }
    const end = value.end + value.value;
    if (end > bytes.length) return undefined;
    const body = bytes.slice(value.end, end);
    const inside = depth < 6 && body.length > 1 ? decode(body, depth + 1) : undefined;
    elements.push({ tag: tag.value, body: inside ?? body });
    at = end;
  }
  return elements;
}

function encode(elements: readonly Element[]): Uint8Array {
  return Buffer.concat(
    elements.flatMap(({ tag, body }) => {
      const content = body instanceof Uint8Array ? body : encode(body);
      return (tag & 7) === 2 ? [bytesOf(tag), bytesOf(content.length), content] : [bytesOf(tag), content];
    }),
  );
}

/** Numbers beyond 32 bits are values, never tags or lengths: their value does not matter here. */
function varint(bytes: Uint8Array, start: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let at = start; at < Math.min(bytes.length, start + 10); at += 1) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * 2 ** (7 * (at - start));
    if (byte < 0x80) return { value, end: at + 1 };
  }
  return undefined;
}

function bytesOf(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}
