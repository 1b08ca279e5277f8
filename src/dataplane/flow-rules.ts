/** What both flow tables agree on: how a rule is checked, normalised and told apart from another. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { FlowRule, Translation } from './ports.ts';

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;

/** A rule as the data plane keeps it: 16 address bytes, IPv4 mapped, and the peer it holds for. */
export interface PolicyRule {
  readonly ifindex: number;
  readonly direction: 'in' | 'out';
  /** 0 for `out`: there the destination alone says which peer hosts it. */
  readonly peerSlot: number;
  readonly protocol: number;
  readonly port: number;
  /** 16 bytes. */
  readonly destination: Uint8Array;
  /** Of 128 bits. */
  readonly length: number;
  readonly floor: number;
}

/** Refuses what no packet could match or what would match too much. */
export function checkRule({ ifindex, protocol, port, floor, destination }: FlowRule): void {
  if (!isEcho(protocol) && protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) {
    throw refused(`protocol ${protocol} cannot be granted`);
  }
  if (!isIntegerIn(ifindex, 1, 0x7fff_ffff)) throw refused(`interface ${ifindex} is none`);
  if (!isIntegerIn(port, 0, 0xffff)) throw refused(`port ${port} is none`);
  // A floor of 0 would let a peer without a level through.
  if (!isIntegerIn(floor, 1, 5)) throw refused(`floor ${floor} is no level`);
  checkPrefix(destination);
}

/** The rule, checked, as the data plane keeps it. */
export function policyRule(rule: FlowRule, peerSlot: number): PolicyRule {
  checkRule(rule);
  const { ifindex, direction, protocol, floor, destination } = rule;
  return {
    ifindex,
    direction,
    peerSlot: direction === 'in' ? peerSlot : 0,
    protocol,
    port: isEcho(protocol) ? 0 : rule.port,
    destination: mappedAddress(destination.address),
    length: mappedLength(destination),
    floor,
  };
}

/** Two rules with the same key are the same entry of the policy map. */
export function policyKey(rule: PolicyRule): string {
  const { ifindex, direction, peerSlot, protocol, port, destination, length } = rule;
  return `${ifindex} ${direction} ${peerSlot} ${protocol} ${port} ${hex(destination)}/${length}`;
}

/** The prefix in 128 bits, checked. */
export function mappedPrefix(prefix: Prefix): Prefix {
  checkPrefix(prefix);
  return { address: mappedAddress(prefix.address), length: mappedLength(prefix) };
}

/** 16 bytes; IPv4 becomes ::ffff:a.b.c.d. */
export function mappedAddress(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address;
  if (address.length !== 4) throw refused(`an address has ${address.length} bytes`);
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(address, 12);
  return mapped;
}

/** As the data plane keeps it, in 128 bits. */
export interface PrefixPair {
  readonly internal: Uint8Array;
  readonly external: Uint8Array;
  readonly length: number;
}

/** The translation, checked. */
export function prefixPair({ internal, external }: Translation): PrefixPair {
  if (internal.address.length !== external.address.length || internal.length !== external.length) {
    throw refused('a prefix is translated to one of another size');
  }
  const { address, length } = mappedPrefix(internal);
  return { internal: address, external: mappedPrefix(external).address, length };
}

/** On all interfaces. */
export const MAX_TRANSLATIONS = 16;

/** A ping: it has no ports. */
export function isEcho(protocol: number): boolean {
  return protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
}

export function isMapped(address: Uint8Array): boolean {
  if (address[10] !== 0xff || address[11] !== 0xff) return false;
  return address.subarray(0, 10).every((byte) => byte === 0);
}

/** Whether the first `length` bits are equal. */
export function covers(prefix: Uint8Array, length: number, address: Uint8Array): boolean {
  const whole = length >> 3;
  for (let at = 0; at < whole; at += 1) {
    if (prefix[at] !== address[at]) return false;
  }
  const mask = lowMask(length & 7);
  return whole === 16 || ((prefix[whole] ?? 0) & ~mask) === ((address[whole] ?? 0) & ~mask);
}

export function isIntegerIn(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

export function refused(detail: string): ShellstreamError {
  return new ShellstreamError('DATAPLANE_FAILED', detail);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Refuses host bits, and IPv6 written over mapped IPv4: it would stand for both. */
function checkPrefix({ address, length }: Prefix): void {
  const bits = address.length * 8;
  if (bits !== 32 && bits !== 128) throw refused(`an address has ${address.length} bytes`);
  if (!isIntegerIn(length, 0, bits)) throw refused(`prefix length ${length} of ${bits} bits`);
  if (length < bits && hasHostBits(address, length)) throw refused('a prefix has host bits');
  if (bits === 128 && overlapsMapped(address, length)) throw refused('an IPv6 prefix covers mapped IPv4 addresses');
}

/** Of 128 bits. */
function mappedLength({ address, length }: Prefix): number {
  return length + 128 - address.length * 8;
}

function hasHostBits(address: Uint8Array, length: number): boolean {
  const first = length >> 3;
  return address.some((byte, at) => (at > first ? byte !== 0 : at === first && (byte & lowMask(length & 7)) !== 0));
}

/** ::/0 itself stays possible: real IPv6 packets never carry mapped addresses, the programs refuse them. */
function overlapsMapped(address: Uint8Array, length: number): boolean {
  return length >= 96 && isMapped(address);
}

/** The bits of a byte behind its first `bits`. */
function lowMask(bits: number): number {
  return 0xff >> bits;
}
