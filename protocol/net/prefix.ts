import type { Prefix } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import { formatAddress, isIpv4Mapped, tryParseAddress } from './address.ts';

/**
 * A prefix from text: `10.1.0.0/16`, `fd00::/8`; an address alone stands for itself (/32 or /128).
 * Host bits must be zero: `10.1.2.3/16` is a mistake whose meaning we will not guess. Throws MALFORMED.
 */
export function parsePrefix(text: string): Prefix {
  const prefix = tryParsePrefix(text);
  if (prefix === undefined || !isCanonicalPrefix(prefix)) {
    const hint = prefix === undefined ? '' : ` (host bits are set; ${formatPrefix(canonicalPrefix(prefix))} is meant?)`;
    throw new ShellstreamError('MALFORMED', `not an IP prefix: ${JSON.stringify(text.slice(0, 49))}${hint}`);
  }
  return prefix;
}

/** An address with a length, host bits kept: `10.9.0.1/24` as an interface carries it. Throws MALFORMED. */
export function parseInterfaceAddress(text: string): Prefix {
  const prefix = tryParsePrefix(text);
  if (prefix === undefined) {
    throw new ShellstreamError('MALFORMED', `not an address with a length: ${JSON.stringify(text.slice(0, 49))}`);
  }
  return prefix;
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.address)}/${prefix.length}`;
}

/** The prefix of one address. */
export function hostPrefix(address: Uint8Array): Prefix {
  return { address, length: address.length * 8 };
}

/** The same prefix with its host bits set to zero. */
export function canonicalPrefix(prefix: Prefix): Prefix {
  const address = prefix.address.map((byte, at) => byte & maskByte(prefix.length, at));
  return { address, length: prefix.length };
}

/** 4 or 16 bytes, a length that fits them, no host bits. What comes off the wire must pass this. */
export function isCanonicalPrefix(prefix: Prefix): boolean {
  const { address, length } = prefix;
  if (address.length !== 4 && address.length !== 16) return false;
  if (!Number.isInteger(length) || length < 0 || length > address.length * 8) return false;
  return address.every((byte, at) => (byte & ~maskByte(length, at)) === 0);
}

/**
 * Whether every address of `inner` lies in `outer`. IPv4 and IPv6 never contain each other, and an IPv4-mapped
 * address lies in no IPv6 prefix but a mapped one: it would reach an IPv4 host under an IPv6 rule.
 */
export function prefixContains(outer: Prefix, inner: Prefix): boolean {
  if (inner.length < outer.length || !sameBits(outer, inner, outer.length)) return false;
  return isIpv4Mapped(inner.address) === isIpv4Mapped(outer.address);
}

export function prefixContainsAddress(prefix: Prefix, address: Uint8Array): boolean {
  return prefixContains(prefix, hostPrefix(address));
}

/** Whether any address lies in both. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return sameBits(a, b, Math.min(a.length, b.length));
}

export function prefixesEqual(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && sameBits(a, b, a.length);
}

/** The addresses in both: prefixes either nest or are apart. */
export function intersectPrefixes(a: Prefix, b: Prefix): Prefix | undefined {
  if (prefixContains(a, b)) return b;
  return prefixContains(b, a) ? a : undefined;
}

export function isDefaultRoute(prefix: Prefix): boolean {
  return prefix.length === 0;
}

function tryParsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  const address = tryParseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  if (slash < 0) return hostPrefix(address);
  const digits = text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  return length <= address.length * 8 ? { address, length } : undefined;
}

function sameBits(a: Prefix, b: Prefix, bits: number): boolean {
  if (a.address.length !== b.address.length) return false;
  return a.address.every((byte, at) => ((byte ^ (b.address[at] ?? 0)) & maskByte(bits, at)) === 0);
}

/** The mask of byte `at` of a prefix of `length` bits. */
function maskByte(length: number, at: number): number {
  const bits = Math.min(Math.max(length - at * 8, 0), 8);
  return (0xff << (8 - bits)) & 0xff;
}
