/** A packet as far as the filter looks: what the memory driver judges, and what tests turn into bytes for the kernel. */
import type { DenialCause } from './ports.ts';

interface Addressed {
  readonly ifindex: number;
  /** As seen from this host. */
  readonly direction: 'in' | 'out';
  /** Where it came in, when it is passed on. */
  readonly cameBy?: number;
  /** 4 or 16 bytes, both alike. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

interface Ported {
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface TcpPacket extends Addressed, Ported {
  readonly kind: 'tcp';
  /** The flags byte; 2 is SYN. */
  readonly flags: number;
}

export interface UdpPacket extends Addressed, Ported {
  readonly kind: 'udp';
}

export interface EchoPacket extends Addressed {
  readonly kind: 'echo-request' | 'echo-reply';
  readonly identifier: number;
}

export type FlowPacket =
  | TcpPacket
  | UdpPacket
  | EchoPacket
  /** An ICMP error; `about` is the packet whose head it carries, as that packet was seen: in the other direction. */
  | (Addressed & { readonly kind: 'icmp-error'; readonly about: TcpPacket | UdpPacket | EchoPacket })
  /** Any fragment but a whole packet, a routing header, a source route. */
  | (Addressed & { readonly kind: 'unreadable' })
  /** A protocol that nothing can grant. */
  | (Addressed & { readonly kind: 'other'; readonly protocol: number })
  /** ARP, or a neighbour solicitation or advertisement; only on links with an Ethernet header. */
  | { readonly kind: 'neighbour'; readonly ifindex: number; readonly direction: 'in' | 'out' };

export type Verdict = 'PASS' | DenialCause;
