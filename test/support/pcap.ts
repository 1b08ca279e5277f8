/** Packets out of a capture file as tcpdump writes it: Ethernet or, from a tunnel, bare IP; IPv4, IPv6, TCP, UDP. Enough to count and to read. */

export interface Packet {
  /** Milliseconds since the epoch, with a fraction. */
  readonly atMs: number;
  /** The sender's hardware address: tells who sent it, whatever the packet claims. Empty in a tunnel. */
  readonly sourceMac: string;
  /** 0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP. */
  readonly etherType: number;
  /** Undefined when it is not IP. */
  readonly ip?: IpPacket;
}

export interface IpPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** 0 where the protocol has none. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP only. */
  readonly sequence: number;
  readonly flags: number;
  /** Behind the TCP or UDP header; of other protocols everything behind the IP header. */
  readonly payload: Buffer;
}

export const TCP = 6;
export const UDP = 17;
export const SYN = 2;

/** A packet at the end that is still being written is left out. */
export function parsePcap(file: Buffer): readonly Packet[] {
  if (file.length < FILE_HEADER) return [];
  const linkType = file.readUInt32LE(20);
  if (file.readUInt32LE(0) !== MAGIC_MICROSECONDS || (linkType !== LINKTYPE_ETHERNET && linkType !== LINKTYPE_RAW)) {
    throw new Error('not a little-endian capture of Ethernet or IP');
  }
  const parse = linkType === LINKTYPE_RAW ? parseBare : parseFrame;
  const packets: Packet[] = [];
  let at = FILE_HEADER;
  while (at + RECORD_HEADER <= file.length) {
    const atMs = file.readUInt32LE(at) * 1000 + file.readUInt32LE(at + 4) / 1000;
    const end = at + RECORD_HEADER + file.readUInt32LE(at + 8);
    if (end > file.length) break;
    packets.push({ atMs, ...parse(file.subarray(at + RECORD_HEADER, end)) });
    at = end;
  }
  return packets;
}

function parseFrame(frame: Buffer): Omit<Packet, 'atMs'> {
  const sourceMac = frame.subarray(6, 12).toString('hex');
  const etherType = frame.readUInt16BE(12);
  const body = frame.subarray(14);
  if (etherType === IPV4) return { sourceMac, etherType, ip: parseIpv4(body) };
  if (etherType === IPV6) return { sourceMac, etherType, ip: parseIpv6(body) };
  return { sourceMac, etherType };
}

function parseBare(body: Buffer): Omit<Packet, 'atMs'> {
  const isIpv4 = (body[0] ?? 0) >> 4 === 4;
  return { sourceMac: '', etherType: isIpv4 ? IPV4 : IPV6, ip: isIpv4 ? parseIpv4(body) : parseIpv6(body) };
}

function parseIpv4(body: Buffer): IpPacket {
  const header = ((body[0] ?? 0) & 0x0f) * 4;
  const address = (from: number): string => [...body.subarray(from, from + 4)].join('.');
  // Short frames are padded; the length in the header is the packet's.
  const rest = body.subarray(header, body.readUInt16BE(2));
  return { source: address(12), destination: address(16), ...parseTransport(body[9] ?? 0, rest) };
}

function parseIpv6(body: Buffer): IpPacket {
  const address = (from: number): string => body.subarray(from, from + 16).toString('hex');
  return { source: address(8), destination: address(24), ...parseTransport(body[6] ?? 0, body.subarray(40)) };
}

function parseTransport(protocol: number, rest: Buffer): Omit<IpPacket, 'source' | 'destination'> {
  const none = { sourcePort: 0, destinationPort: 0, sequence: 0, flags: 0 };
  if ((protocol !== TCP && protocol !== UDP) || rest.length < 8) return { protocol, ...none, payload: rest };
  const ports = { sourcePort: rest.readUInt16BE(0), destinationPort: rest.readUInt16BE(2) };
  if (protocol === UDP) return { protocol, ...ports, sequence: 0, flags: 0, payload: rest.subarray(8) };
  const payload = rest.subarray(((rest[12] ?? 0) >> 4) * 4);
  return { protocol, ...ports, sequence: rest.readUInt32BE(4), flags: rest[13] ?? 0, payload };
}

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
const LINKTYPE_RAW = 101;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
