/** A member of the overlay: what it is to be, and the WireGuard peer that comes of it. */
import type { Prefix, Target, TargetClass } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { prefixesEqual } from '../../protocol/net/prefix.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { FlowSession, TunnelPeer, TunnelPeerState } from '../dataplane/ports.ts';
import { keyText } from '../dataplane/tunnel-rules.ts';

/** A peer as it is to be: one value, from which tunnel, flows and routes follow. */
export interface MemberSpec {
  readonly spiffeId: string;
  readonly publicKey: Uint8Array;
  /** Absent for a member of a former run: the kernel alone has it. */
  readonly presharedKey?: Uint8Array;
  readonly endpoint?: { readonly address: string; readonly port: number };
  /** Seconds, at most, between keepalives; 0 sends none. */
  readonly keepalive: number;
  /** Its packets go in the session; the endpoint is our own end of that. */
  readonly isCarried?: boolean;
  /** What lies behind the peer: WireGuard's allowed IPs, the pinned sources, and the routes, all from one list. */
  readonly prefixes: readonly Prefix[];
  /** Here, for the peer to reach. */
  readonly hosted: readonly MemberTarget[];
  /** At the peer, for us to reach. */
  readonly visited: readonly MemberTarget[];
  readonly level: PostureLevel;
  readonly expiresAtBootNs: bigint;
}

export interface MemberTarget extends Target {
  readonly floor: number;
  readonly class?: TargetClass;
}

export interface Member {
  /** Names the membership through all its renewals; never given twice. */
  readonly number: number;
  readonly session: FlowSession;
  readonly spec: MemberSpec;
  /** Counts attestations of this membership; 1 at the first. */
  readonly generation: number;
}

/** @param keepalive seconds, as the levels of both ends have it now */
export function tunnelPeer(spec: MemberSpec, keepalive: number): TunnelPeer {
  const { presharedKey } = spec;
  if (presharedKey === undefined) throw new ShellstreamError('TUNNEL_FAILED', 'a peer without a pre-shared key');
  return {
    publicKey: spec.publicKey,
    presharedKey,
    allowedIps: spec.prefixes,
    keepalive,
    ...(spec.endpoint === undefined ? {} : { endpoint: spec.endpoint }),
  };
}

export function isPeerOf({ publicKey, prefixes }: MemberSpec, peer: TunnelPeerState): boolean {
  return (
    keyText(publicKey) === keyText(peer.publicKey) &&
    prefixes.length === peer.allowedIps.length &&
    prefixes.every((prefix) => peer.allowedIps.some((allowed) => prefixesEqual(prefix, allowed)))
  );
}
