/** What native/bpf/packet.h must make of a packet's bytes, written a second time from its rules. */
import type { EchoPacket, FlowPacket, TcpPacket, UdpPacket } from '../../src/dataplane/flow-packet.ts';

interface Seen {
  readonly ifindex: number;
  readonly direction: 'in' | 'out';
}

type Addressed = Seen & { readonly source: Uint8Array; readonly destination: Uint8Array };

const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58];
const ETHERNET_BYTES = 14;
const MOST_EXTENSION_HEADERS = 3;

export function readPacket(frame: Buffer, seen: Seen, ethernet: boolean): FlowPacket {
  const nowhere: Addressed = { ...seen, source: new Uint8Array(4), destination: new Uint8Array(4) };
  const unreadable: FlowPacket = { kind: 'unreadable', ...nowhere };
  const etherType = ethernet ? frame.readUInt16BE(12) : undefined;
  if (etherType === 0x0806) return { kind: 'neighbour', ...seen };
  const bytes = ethernet ? frame.subarray(ETHERNET_BYTES) : frame;
  if (bytes.length < 20) return unreadable;
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && (etherType ?? 0x0800) === 0x0800) return readIpv4(bytes, seen) ?? unreadable;
  if (version === 6 && (etherType ?? 0x86dd) === 0x86dd) return readIpv6(bytes, seen, ethernet) ?? unreadable;
  return unreadable;
}

function readIpv4(bytes: Buffer, seen: Seen): FlowPacket | undefined {
  const header = ((bytes[0] ?? 0) & 0x0f) * 4;
  const isFragment = (bytes.readUInt16BE(6) & 0x3fff) !== 0;
  const options = bytes.subarray(20, header);
  const routed = options.includes(131) || options.includes(137);
  if (header < 20 || bytes.length < header || isFragment || routed) return undefined;
  const at = { ...seen, source: bytes.subarray(12, 16), destination: bytes.subarray(16, 20) };
  const protocol = bytes[9] ?? 0;
  return readTransport(bytes.subarray(header), protocol, at, () => {
    const inner = bytes.subarray(header + 8);
    if (inner.length < 20 || (inner[0] ?? 0) >> 4 !== 4 || ((inner[0] ?? 0) & 15) < 5) return undefined;
    if ((inner.readUInt16BE(6) & 0x1fff) !== 0) return undefined;
    const about = { source: inner.subarray(12, 16), destination: inner.subarray(16, 20) };
    return readInner(inner.subarray(((inner[0] ?? 0) & 15) * 4), inner[9] ?? 0, { ...turned(seen), ...about });
  });
}

function readIpv6(bytes: Buffer, seen: Seen, ethernet: boolean): FlowPacket | undefined {
  if (bytes.length < 40) return undefined;
  const at = { ...seen, source: bytes.subarray(8, 24), destination: bytes.subarray(24, 40) };
  let protocol = bytes[6] ?? 0;
  let transport = 40;
  for (let walked = 0; protocol === 0 || protocol === 60; walked += 1) {
    if (walked === MOST_EXTENSION_HEADERS || bytes.length < transport + 2) return undefined;
    protocol = bytes[transport] ?? 0;
    transport += ((bytes[transport + 1] ?? 0) + 1) * 8;
  }
  if (protocol === 43 || protocol === 44) return undefined;
  const rest = bytes.subarray(transport);
  const [type = 0, code = 0] = rest;
  if (protocol === ICMPV6 && rest.length >= 8 && type >= 133 && type <= 136) {
    if (bytes[7] !== 255 || code !== 0) return undefined;
    return ethernet && type >= 135 ? { kind: 'neighbour', ...seen } : { kind: 'other', protocol, ...at };
  }
  return readTransport(rest, protocol, at, () => {
    const inner = bytes.subarray(transport + 8);
    if (inner.length < 40 || (inner[0] ?? 0) >> 4 !== 6) return undefined;
    const about = { source: inner.subarray(8, 24), destination: inner.subarray(24, 40) };
    return readInner(inner.subarray(40), inner[6] ?? 0, { ...turned(seen), ...about });
  });
}

type Known = TcpPacket | UdpPacket | EchoPacket;

function readTransport(
  bytes: Buffer,
  protocol: number,
  at: Addressed,
  inner: () => Known | undefined,
): FlowPacket | undefined {
  const isIpv4 = at.source.length === 4;
  if (protocol === TCP || protocol === UDP) {
    if (bytes.length < (protocol === TCP ? 16 : 8)) return undefined;
    const ports = { sourcePort: bytes.readUInt16BE(0), destinationPort: bytes.readUInt16BE(2) };
    return protocol === TCP
      ? { kind: 'tcp', ...at, ...ports, flags: bytes[13] ?? 0 }
      : { kind: 'udp', ...at, ...ports };
  }
  if (protocol !== ICMP && protocol !== ICMPV6) return { kind: 'other', protocol, ...at };
  if (bytes.length < 8 || (protocol === ICMP) !== isIpv4) return undefined;
  const type = bytes[0] ?? 0;
  if (type === (isIpv4 ? 8 : 128)) return { kind: 'echo-request', ...at, identifier: bytes.readUInt16BE(4) };
  if (type === (isIpv4 ? 0 : 129)) return { kind: 'echo-reply', ...at, identifier: bytes.readUInt16BE(4) };
  const isError = isIpv4 ? [3, 11, 12].includes(type) : type >= 1 && type <= 4;
  const about = isError ? inner() : undefined;
  return about === undefined ? { kind: 'other', protocol, ...at } : { kind: 'icmp-error', ...at, about };
}

/** The head of the packet that an error is about: eight bytes behind its header are enough. */
function readInner(bytes: Buffer, protocol: number, at: Addressed): Known | undefined {
  if (bytes.length < 8) return undefined;
  const ports = { sourcePort: bytes.readUInt16BE(0), destinationPort: bytes.readUInt16BE(2) };
  if (protocol === TCP) return { kind: 'tcp', ...at, ...ports, flags: 0 };
  if (protocol === UDP) return { kind: 'udp', ...at, ...ports };
  // Of the other family's ICMP no flow can be.
  if (protocol !== (at.source.length === 4 ? ICMP : ICMPV6)) return undefined;
  return { kind: 'echo-request', ...at, identifier: bytes.readUInt16BE(4) };
}

function turned({ ifindex, direction }: Seen): Seen {
  return { ifindex, direction: direction === 'in' ? 'out' : 'in' };
}
