/**
 * Keys and values of the maps as bytes; the C structures are in native/bpf/layout.h. Numbers are in this machine's
 * order, ports and addresses in network order, padding is zero.
 */
import { endianness } from 'node:os';
import type { Prefix } from '../../../protocol/capability/model.ts';
import { isPostureLevel, levelFromTrustedSource } from '../../../protocol/posture/level.ts';
import { mappedPrefix, type PrefixPair, refused } from '../flow-rules.ts';
import {
  type ControlFlow,
  DENIAL_CAUSES,
  type FlowCounters,
  type FlowDenial,
  type FlowSession,
  type Forward,
  type LevelSeen,
  type StaticFlow,
} from '../ports.ts';

const LITTLE = endianness() === 'LE';

const DIRECTIONS = { in: 1, out: 2 } as const;
const KINDS = { tunnel: 1, outer: 2, monitored: 3 } as const;

export const SIZE = {
  flowKey: 48,
  flow: 24,
  place: 48,
  session: 24,
  staticKey: 28,
  controlKey: 40,
  denial: 56,
  stats: 24,
  translation: 56,
} as const;

/** Where the words of `struct session` stand. */
export const SESSION = { expires: 8, active: 16 } as const;

export function packNumber(value: number): Uint8Array {
  return fields(4, (view) => view.setUint32(0, value, LITTLE));
}

export function unpackNumber(bytes: Uint8Array, offset = 0): number {
  return viewOf(bytes).getUint32(offset, LITTLE);
}

export function unpackLong(bytes: Uint8Array, offset = 0): bigint {
  return viewOf(bytes).getBigUint64(offset, LITTLE);
}

export function packInterface(kind: keyof typeof KINDS, ethernet: boolean, mtu: number): Uint8Array {
  return fields(4, (view) => {
    view.setUint8(0, KINDS[kind]);
    view.setUint8(1, ethernet ? 1 : 0);
    view.setUint16(2, Math.min(mtu, 0xffff), LITTLE);
  });
}

export function packSession(session: FlowSession): Uint8Array {
  return fields(SIZE.session, (view) => {
    view.setUint32(0, session.generation, LITTLE);
    view.setUint32(4, session.peerSlot, LITTLE);
    view.setBigUint64(SESSION.expires, session.expiresAtBootNs, LITTLE);
  });
}

export function packSourceKey(ifindex: number, prefix: Prefix): Uint8Array {
  const { address, length } = mappedPrefix(prefix);
  return fields(24, (view, bytes) => {
    view.setUint32(0, 32 + length, LITTLE);
    view.setUint32(4, ifindex, LITTLE);
    bytes.set(address, 8);
  });
}

/** An entry of `translations`; one of zeros ends them. */
export function packTranslation(ifindex: number, { internal, external, length }: PrefixPair): Uint8Array {
  return fields(SIZE.translation, (view, bytes) => {
    view.setUint32(0, ifindex, LITTLE);
    bytes.set(internal, 8);
    bytes.set(external, 24);
    for (let byte = 0; byte < 16; byte += 1) {
      bytes[40 + byte] = 0xff << (8 - Math.min(8, Math.max(0, length - 8 * byte)));
    }
  });
}

/** One behind the other. */
export function packForwards(forwards: readonly Forward[]): Uint8Array {
  return concat(forwards.flatMap(({ from, to }) => [packNumber(from), packNumber(to)]));
}

/** One behind the other. */
export function packControlKeys(flows: readonly ControlFlow[]): Uint8Array {
  return fields(flows.length * SIZE.controlKey, (view, bytes) => {
    let at = 0;
    for (const flow of flows) {
      packAddress(bytes, at, flow.remoteAddress);
      packAddress(bytes, at + 16, flow.localAddress);
      view.setUint16(at + 32, flow.remotePort);
      view.setUint16(at + 34, flow.localPort);
      view.setUint8(at + 36, flow.protocol);
      at += SIZE.controlKey;
    }
  });
}

/** Into 16 zero bytes; there may be ten thousand at lockdown, where each array made on the way would count. */
function packAddress(bytes: Uint8Array, at: number, address: Uint8Array): void {
  if (address.length === 4) {
    bytes[at + 10] = 0xff;
    bytes[at + 11] = 0xff;
  } else if (address.length !== 16) {
    throw refused(`an address has ${address.length} bytes`);
  }
  const first = at + 16 - address.length;
  for (let n = 0; n < address.length; n += 1) bytes[first + n] = address[n] ?? 0;
}

export function packStaticKey(ifindex: number, flow: StaticFlow): Uint8Array {
  const { address, length } = mappedPrefix(flow.remote);
  return fields(SIZE.staticKey, (view, bytes) => {
    view.setUint32(0, 64 + length, LITTLE);
    view.setUint32(4, ifindex, LITTLE);
    view.setUint8(8, DIRECTIONS[flow.direction]);
    view.setUint8(9, flow.protocol);
    view.setUint16(10, flow.port);
    bytes.set(address, 12);
  });
}

/** The interface of a key of static_flows. */
export function interfaceOfStaticKey(key: Uint8Array): number {
  return unpackNumber(key, 4);
}

/** The keys of taken places. */
export function unpackPlaces(bytes: Uint8Array): readonly Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (let at = 0; at + SIZE.place <= bytes.length; at += SIZE.place) {
    const protocol = bytes[at + 40];
    if (protocol !== undefined && protocol !== 0) keys.push(bytes.subarray(at, at + SIZE.flowKey));
  }
  return keys;
}

/** The session slot of a `struct flow`. */
export function sessionOfFlow(flow: Uint8Array): number {
  return unpackNumber(flow, 8);
}

/** Sums the processors' `struct stats`. */
export function unpackCounters(bytes: Uint8Array): FlowCounters {
  let [packets, octets, denied] = [0n, 0n, 0n];
  for (let at = 0; at + SIZE.stats <= bytes.length; at += SIZE.stats) {
    packets += unpackLong(bytes, at);
    octets += unpackLong(bytes, at + 8);
    denied += unpackLong(bytes, at + 16);
  }
  return { packets, bytes: octets, denied };
}

/** Records one behind the other. One that this version does not know is left out. */
export function unpackDenials(bytes: Uint8Array): readonly FlowDenial[] {
  const denials: FlowDenial[] = [];
  for (let at = 0; at + SIZE.denial <= bytes.length; at += SIZE.denial) {
    const denial = unpackDenial(bytes.subarray(at, at + SIZE.denial));
    if (denial !== undefined) denials.push(denial);
  }
  return denials;
}

function unpackDenial(bytes: Uint8Array): FlowDenial | undefined {
  const view = viewOf(bytes);
  const cause = DENIAL_CAUSES[view.getUint8(12) - 1];
  const family = view.getUint8(15);
  if (cause === undefined) return undefined;
  return {
    cause,
    ifindex: view.getUint32(8, LITTLE),
    direction: view.getUint8(13) === DIRECTIONS.in ? 'in' : 'out',
    protocol: view.getUint8(14),
    source: addressOf(bytes.subarray(16, 32), family),
    destination: addressOf(bytes.subarray(32, 48), family),
    sourcePort: view.getUint16(48),
    destinationPort: view.getUint16(50),
    atBootNs: view.getBigUint64(0, LITTLE),
  };
}

/** `struct level_seen`: as long as a denial, and between denials. */
export function unpackLevelsSeen(bytes: Uint8Array): readonly LevelSeen[] {
  const seen: LevelSeen[] = [];
  for (let at = 0; at + SIZE.denial <= bytes.length; at += SIZE.denial) {
    const view = viewOf(bytes.subarray(at, at + SIZE.denial));
    if (view.getUint8(12) !== LEVEL_SEEN) continue;
    const from = view.getUint8(13);
    const [external, own] = [view.getUint8(14), view.getUint8(15)];
    seen.push({
      atBootNs: view.getBigUint64(0, LITTLE),
      from: isPostureLevel(from) ? from : undefined,
      level: levelFromTrustedSource(Math.min(external, own)),
      heldBy: external === own ? 'both' : external < own ? 'external' : 'own',
      number: view.getBigUint64(16, LITTLE),
    });
  }
  return seen;
}

const LEVEL_SEEN = 255;

/** Empty where the packet was not IP. */
function addressOf(mapped: Uint8Array, family: number): Uint8Array {
  if (family === 0) return new Uint8Array(0);
  return Uint8Array.from(family === 4 ? mapped.subarray(12) : mapped);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function fields(size: number, fill: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  fill(viewOf(bytes), bytes);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
