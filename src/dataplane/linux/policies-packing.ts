/** Keys and values of the policy maps; the C structures are in native/bpf/layout.h. */
import { endianness } from 'node:os';
import type { Owner } from '../flow-claims.ts';
import { checkRule, isEcho, type PolicyRule, policyRule } from '../flow-rules.ts';
import type { FlowRule, FlowSession } from '../ports.ts';

/** `struct staged`: the key, then the value. */
export const ENTRY_BYTES = 40;
const KEY_BYTES = 28;
const WORDS = ENTRY_BYTES / 4;

const LITTLE = endianness() === 'LE';
const HOST_BITS = 128;
/** ::ffff:0:0 as the third word of a mapped address. */
const MAPPED = LITTLE ? 0xffff_0000 : 0x0000_ffff;

const DIRECTIONS = { in: 1, out: 2 } as const;

/** Checks and packs a session's rules in one pass: those for hosts as `struct staged`, the others as they are. */
export function packPolicies(
  { sessionSlot, generation, peerSlot }: FlowSession,
  rules: readonly FlowRule[],
): { readonly hosts: Uint8Array; readonly prefixes: readonly PolicyRule[] } {
  const bytes = new Uint8Array(rules.length * ENTRY_BYTES);
  const words = new Uint32Array(bytes.buffer);
  const prefixes: PolicyRule[] = [];
  let word = 0;
  for (const rule of rules) {
    const { direction, protocol, destination } = rule;
    const { address } = destination;
    if (destination.length !== address.length * 8) {
      prefixes.push(policyRule(rule, peerSlot));
      continue;
    }
    checkRule(rule);
    words[word] = rule.ifindex;
    words[word + 1] = direction === 'in' ? peerSlot : 0;
    const port = isEcho(protocol) ? 0 : rule.port;
    const at = word * 4 + 8;
    bytes[at] = DIRECTIONS[direction];
    bytes[at + 1] = protocol;
    bytes[at + 2] = port >> 8;
    bytes[at + 3] = port;
    if (address.length === 4) words[word + 5] = MAPPED;
    const last = at + 20 - address.length;
    for (let n = 0; n < address.length; n += 1) bytes[last + n] = address[n] ?? 0;
    words[word + 7] = sessionSlot;
    words[word + 8] = generation;
    words[word + 9] = rule.floor;
    word += WORDS;
  }
  return { hosts: bytes.subarray(0, word * 4), prefixes };
}

/** The rule of a `struct staged`. */
export function unpackPolicy(entry: Uint8Array): PolicyRule {
  const view = viewOf(entry);
  return {
    ifindex: view.getUint32(0, LITTLE),
    direction: view.getUint8(8) === DIRECTIONS.in ? 'in' : 'out',
    peerSlot: view.getUint32(4, LITTLE),
    protocol: view.getUint8(9),
    port: view.getUint16(10),
    destination: entry.slice(12, KEY_BYTES),
    length: HOST_BITS,
    floor: view.getUint32(36, LITTLE),
  };
}

export function keyOfEntry(entry: Uint8Array): Uint8Array {
  return entry.subarray(0, KEY_BYTES);
}

/** Whether the rule belongs into the hash of hosts; shorter prefixes go into the trie. */
export function isHostRule(rule: PolicyRule): boolean {
  return rule.length === HOST_BITS;
}

export function packPolicyKey(rule: PolicyRule): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  packKey(key, rule);
  return key;
}

export function packPolicyPrefixKey(rule: PolicyRule): Uint8Array {
  const key = new Uint8Array(4 + KEY_BYTES);
  viewOf(key).setUint32(0, 96 + rule.length, LITTLE);
  packKey(key.subarray(4), rule);
  return key;
}

/** `struct policy`. */
export function packOwner(owner: Owner): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = viewOf(bytes);
  view.setUint32(0, owner.sessionSlot, LITTLE);
  view.setUint32(4, owner.generation, LITTLE);
  view.setUint32(8, owner.floor, LITTLE);
  return bytes;
}

export function unpackOwner(bytes: Uint8Array): Owner {
  const view = viewOf(bytes);
  return {
    sessionSlot: view.getUint32(0, LITTLE),
    generation: view.getUint32(4, LITTLE),
    floor: view.getUint32(8, LITTLE),
  };
}

function packKey(bytes: Uint8Array, rule: PolicyRule): void {
  const view = viewOf(bytes);
  view.setUint32(0, rule.ifindex, LITTLE);
  view.setUint32(4, rule.peerSlot, LITTLE);
  view.setUint8(8, DIRECTIONS[rule.direction]);
  view.setUint8(9, rule.protocol);
  view.setUint16(10, rule.port);
  bytes.set(rule.destination, 12);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
