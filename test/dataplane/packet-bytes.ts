/** Packets of the flow contract as bytes on the wire. Checksums are zero: the filter does not look at them. */
import { assertNever } from '../../protocol/errors.ts';
import type { FlowPacket } from '../../src/dataplane/flow-packet.ts';

/** With an Ethernet header or, as tunnels carry it, without one. */
export function packetBytes(packet: FlowPacket, ethernet: boolean): Uint8Array {
  if (packet.kind === 'neighbour')
    return Buffer.concat([ETHERNET_ADDRESSES, Buffer.from([0x08, 0x06]), Buffer.alloc(46)]);
  const isIpv4 = packet.source.length === 4;
  const ip = Buffer.concat([ipHeader(packet), transport(packet)]);
  if (!ethernet) return ip;
  return Buffer.concat([ETHERNET_ADDRESSES, Buffer.from(isIpv4 ? [0x08, 0x00] : [0x86, 0xdd]), ip]);
}

/** An IPv4 or IPv6 header around any payload. */
export function ipPacket(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  payload: Uint8Array,
  options: { readonly fragment?: number; readonly hopLimit?: number; readonly ipOptions?: Uint8Array } = {},
): Buffer {
  const { fragment = 0, hopLimit = 64, ipOptions = new Uint8Array(0) } = options;
  if (source.length === 4) {
    const header = Buffer.alloc(20);
    header[0] = 0x45 + ipOptions.length / 4;
    header.writeUInt16BE(20 + ipOptions.length + payload.length, 2);
    header.writeUInt16BE(fragment, 6);
    header[8] = hopLimit;
    header[9] = protocol;
    header.set(source, 12);
    header.set(destination, 16);
    return Buffer.concat([header, ipOptions, payload]);
  }
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(payload.length, 4);
  header[6] = protocol;
  header[7] = hopLimit;
  header.set(source, 8);
  header.set(destination, 24);
  return Buffer.concat([header, payload]);
}

export function tcpSegment(
  sourcePort: number,
  destinationPort: number,
  flags: number,
  options: Uint8Array = new Uint8Array(0),
): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header[12] = (5 + options.length / 4) << 4;
  header[13] = flags;
  return Buffer.concat([header, options]);
}

export function udpDatagram(sourcePort: number, destinationPort: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt16BE(12, 4);
  return header;
}

const ETHERNET_ADDRESSES = Buffer.from('020000000001020000000002', 'hex');
const MORE_FRAGMENTS = 0x2000;

type IpPacket = Exclude<FlowPacket, { kind: 'neighbour' }>;

function ipHeader(packet: IpPacket): Buffer {
  const payload = transport(packet);
  const fragment = packet.kind === 'unreadable' ? MORE_FRAGMENTS : 0;
  const whole = ipPacket(packet.source, packet.destination, protocolNumber(packet), payload, { fragment });
  return whole.subarray(0, whole.length - payload.length);
}

function protocolNumber(packet: IpPacket): number {
  switch (packet.kind) {
    case 'tcp':
      return 6;
    case 'udp':
      return 17;
    case 'other':
      return packet.protocol;
    case 'unreadable':
      return packet.source.length === 4 ? 17 : 44;
    case 'echo-request':
    case 'echo-reply':
    case 'icmp-error':
      return packet.source.length === 4 ? 1 : 58;
  }
  return assertNever(packet);
}

function transport(packet: IpPacket): Buffer {
  const isIpv4 = packet.source.length === 4;
  switch (packet.kind) {
    case 'tcp':
      return tcpSegment(packet.sourcePort, packet.destinationPort, packet.flags);
    case 'udp':
      return udpDatagram(packet.sourcePort, packet.destinationPort);
    case 'other':
    case 'unreadable':
      return Buffer.alloc(24);
    case 'echo-request':
      return echo(isIpv4 ? 8 : 128, packet.identifier);
    case 'echo-reply':
      return echo(isIpv4 ? 0 : 129, packet.identifier);
    case 'icmp-error':
      return Buffer.concat([Buffer.from([isIpv4 ? 3 : 1, 1, 0, 0, 0, 0, 0, 0]), packetBytes(packet.about, false)]);
  }
  return assertNever(packet);
}

function echo(type: number, identifier: number): Buffer {
  const header = Buffer.alloc(8);
  header[0] = type;
  header.writeUInt16BE(identifier, 4);
  return header;
}
