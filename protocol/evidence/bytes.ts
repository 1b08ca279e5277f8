/** Bytes as the public formats of a log write them: base64 of RFC 4648 section 4, lowercase hex, big-endian numbers. */

const UTF8 = new TextEncoder();
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function utf8(text: string): Uint8Array {
  return UTF8.encode(text);
}

/** Undefined for bytes that are not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Undefined unless `text` is the one spelling of its bytes: padded, no blanks, no bits left over. */
export function fromBase64(text: string): Uint8Array | undefined {
  let decoded: string;
  try {
    decoded = atob(text);
  } catch {
    return undefined;
  }
  // A second spelling of one signature would make two notes of one.
  if (btoa(decoded) !== text) return undefined;
  return Uint8Array.from(decoded, (character) => character.charCodeAt(0));
}

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && firstDifference(one, other) === undefined;
}

/** Where two strings of bytes part: the offset of the first byte that differs or that only one of them has. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number | undefined {
  const shared = Math.min(one.length, other.length);
  for (let i = 0; i < shared; i += 1) if (one[i] !== other[i]) return i;
  return one.length === other.length ? undefined : shared;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((total, { length }) => total + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Lowercase hex, as {@link toHex} writes it. */
export function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  // By character: a slice and a parse for each byte would be most of what a record of a session's end costs.
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i] = (digit(text.charCodeAt(2 * i)) << 4) | digit(text.charCodeAt(2 * i + 1));
  }
  return bytes;
}

function digit(code: number): number {
  return code < CODE_OF_A ? code - CODE_OF_0 : code - CODE_OF_A + 10;
}

const CODE_OF_0 = 48;
const CODE_OF_A = 97;
