/** IP packets behind one byte of flags: turned round, wrapped in ICMP errors, with options and extension headers. */
import { spliced } from '../engine/byte-mutations.ts';
import type { Random } from '../engine/random.ts';
import type { Format } from './format.ts';
import { joined, pieces } from './sequence.ts';

/** One packet of a sequence changes, or is put beside itself changed: as a request and its answer are. */
export const packets: Format = {
  mutate(bytes, { random }) {
    const list = pieces(bytes);
    const at = random.below(list.length);
    const piece = list[at];
    const flags = piece?.[0];
    // Behind an Ethernet header bytes are changed, not built.
    if (piece === undefined || flags === undefined || (flags & 2) !== 0 || piece.length < 29) return undefined;
    const packet = Buffer.from(piece.subarray(1));
    const version = (packet[0] ?? 0) >> 4;
    if (version !== 4 && !(version === 6 && packet.length >= 48)) return undefined;
    const change = random.pick(version === 6 ? [...CHANGES, extend, extend] : [...CHANGES, addOption]) ?? turn;
    const flipped = change === turn || change === complain ? flags ^ 1 : flags;
    const made = Uint8Array.of(flipped, ...change(packet, random));
    return joined(random.once(2) ? list.toSpliced(at + 1, 0, made) : list.with(at, made));
  },
};

type Change = (packet: Buffer, random: Random) => Uint8Array;

const isIpv6 = (packet: Buffer): boolean => (packet[0] ?? 0) >> 4 === 6;
const headerBytes = (packet: Buffer): number => (isIpv6(packet) ? 40 : ((packet[0] ?? 0) & 15) * 4);
const protocolAt = (packet: Buffer): number => (isIpv6(packet) ? 6 : 9);

/** Addresses and ports change places. */
const turn: Change = (packet) => {
  const [from, size] = isIpv6(packet) ? [8, 16] : [12, 4];
  const header = headerBytes(packet);
  return Buffer.concat([
    packet.subarray(0, from),
    packet.subarray(from + size, from + 2 * size),
    packet.subarray(from, from + size),
    packet.subarray(from + 2 * size, header),
    packet.subarray(header + 2, header + 4),
    packet.subarray(header, header + 2),
    packet.subarray(header + 4),
  ]);
};

/** An ICMP error about the packet, to its sender. */
const complain: Change = (packet, random) => {
  const header = Buffer.from(turn(packet, random).subarray(0, headerBytes(packet)));
  header[protocolAt(packet)] = isIpv6(packet) ? 58 : 1;
  const type = random.pick(isIpv6(packet) ? [1, 2, 3, 4, 5] : [3, 4, 5, 11, 12]) ?? 3;
  return Buffer.concat([header, Uint8Array.of(type, random.below(16), 0, 0, 0, 0, 5, 0), packet]);
};

const setProtocol: Change = (packet, random) => {
  packet[protocolAt(packet)] = random.pick([0, 1, 6, 17, 43, 44, 47, 50, 58, 59, 60, 135]) ?? 6;
  return packet;
};

const setPort: Change = (packet, random) => {
  const at = headerBytes(packet) + (random.once(2) ? 0 : 2);
  if (at + 2 <= packet.length) packet.writeUInt16BE(random.pick([0, 22, 53, 80, 443, 4000, 65_535]) ?? 0, at);
  return packet;
};

const setFlags: Change = (packet, random) => {
  const at = headerBytes(packet) + 13;
  if (at < packet.length) packet[at] = random.pick([0, 1, 2, 4, 16, 17, 18, 20, 255]) ?? 0;
  return packet;
};

const setIcmpType: Change = (packet, random) => {
  const type = random.pick([0, 3, 5, 8, 11, 12, 128, 129, 133, 134, 135, 136]) ?? 8;
  packet[protocolAt(packet)] = isIpv6(packet) ? 58 : 1;
  if (isIpv6(packet)) packet[7] = random.pick([64, 255]) ?? 64;
  packet[headerBytes(packet)] = type;
  return packet;
};

const cutShort: Change = (packet, random) => packet.subarray(0, headerBytes(packet) + random.below(24));

const addOption: Change = (packet, random) => {
  const header = headerBytes(packet);
  if (header < 20 || header > 56) return packet;
  packet[0] = (packet[0] ?? 0) + 1;
  return spliced(packet, header, header, Uint8Array.of(random.pick([1, 7, 68, 131, 137, 148]) ?? 1, 4, 0, 0));
};

/** More extension headers in front of what there is: how many is what a walk over them gets wrong. */
const extend: Change = (packet, random) => {
  let extended = packet;
  for (let more = 1 + random.below(5); more > 0; more -= 1) {
    const length = random.below(3);
    const header = Uint8Array.of(extended[6] ?? 0, length, ...new Uint8Array(6 + 8 * length));
    extended = Buffer.from(spliced(extended, 40, 40, header));
    extended[6] = random.once(12) ? (random.pick([43, 44]) ?? 43) : (random.pick([0, 60]) ?? 60);
  }
  return extended;
};

const CHANGES: readonly Change[] = [
  turn,
  turn,
  complain,
  setProtocol,
  setPort,
  setPort,
  setFlags,
  setIcmpType,
  cutShort,
];
