/**
 * What `shellstream connect` needs of a session that this process opens itself: an operator's, over streams, without
 * WireGuard or eBPF on this host. `src/roots/connect.ts` gives it.
 */
import type { Duplex } from 'node:stream';
import type { Capability, Mode, SessionType, Target } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { GovernedBy } from '../control/ports.ts';

export interface ConnectRequest {
  readonly identity: IdentityPlace;
  readonly gateway: { readonly host: string; readonly port: number };
  /** SPIFFE ID that the gateway must prove; no SAT is sent to another. */
  readonly gatewayId: string;
  readonly type: SessionType;
  readonly mode: Mode;
  readonly capabilities: readonly Capability[];
  /** One address, TCP, a port; empty for a session that only looks. */
  readonly targets: readonly Target[];
  /** The level that this side says it is at. */
  readonly posture: PostureLevel;
}

/** Where identity and accord come from. */
export type IdentityPlace =
  /** A gateway's configuration file: its Workload API socket and its accord. */
  | { readonly kind: 'config'; readonly path: string }
  /** Path of a Workload API socket; the default accord. */
  | { readonly kind: 'workload-api'; readonly socket: string };

export interface ConnectedSession extends AsyncDisposable {
  readonly id: string;
  /** Our own SPIFFE ID. */
  readonly spiffeId: string;
  readonly mode: Mode;
  readonly capabilities: readonly Capability[];
  readonly targets: readonly Target[];
  readonly effectiveLevel: PostureLevel;
  /** `local`: our posture; `peer`: the gateway's. */
  readonly governedBy: GovernedBy;
  /** Milliseconds since the epoch; later, while it attests again. */
  readonly expiresAtMs: number;

  /** Round trip of a PING frame, milliseconds. */
  ping(): Promise<number>;
  /** Resolves when the peer took the stream; rejects with its reason. Ends and errors as the peer's side does. */
  openStream(target: Target): Promise<Duplex>;
  /** What changes while it lives. */
  onNotice(listener: (notice: SessionNotice) => void): Disposable;
  /** Resolves once, when the session is over; never rejects. */
  readonly ended: Promise<{ readonly reason: Reason; readonly byPeer: boolean }>;
}

export type SessionNotice =
  | { readonly kind: 'level'; readonly effectiveLevel: PostureLevel; readonly governedBy: GovernedBy }
  | { readonly kind: 'draining'; readonly reason: Reason; readonly deadlineMs: number }
  | { readonly kind: 'attested-again'; readonly expiresAtMs: number };
