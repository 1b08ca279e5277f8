/**
 * The running gateway as its console sees it. `src/roots` implements it; `memory-view.ts` is the one that behaves alike
 * without a gateway. `server.ts` carries it over a unix socket, `client.ts` gives it back on the other end,
 * `metrics` and health read from it.
 *
 * Nothing here may wait for SPIRE, Quartermaster or a peer: the console works at level 1 (DESIGN §5).
 * Times are milliseconds since the epoch where a name ends in `AtMs`. Verbs about what is gone answer `false`,
 * refusals throw `ShellstreamError`.
 */
import type { Capability, GrantedTarget, Mode, SessionType, Tier } from '../../protocol/capability/model.ts';
import type { HoldCause } from '../../protocol/hold/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { PreviewedFate } from '../../protocol/posture/preview.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { FlowCounters, FlowDenial, TunnelDriver } from '../dataplane/ports.ts';
import type { Actor } from './actor.ts';
import type { EvidenceDesk, EvidenceView } from './evidence-desk.ts';
import type { RevocationDesk } from './revocation-desk.ts';
import type { RouteDesk } from './route-desk.ts';

export type { Actor } from './actor.ts';

export interface GatewayView {
  status(): Promise<GatewayStatus>;

  /** Live sessions in order of their identifiers. Those that ended are told by `watch` and the log. */
  sessions(filter: SessionFilter): Promise<readonly SessionView[]>;
  session(id: string): Promise<SessionDetail | undefined>;
  /** Sends DRAIN (OPERATOR_DRAIN) and ends the session at the deadline; answers when DRAIN is under way. */
  drain(id: string, deadlineMs: number, by: Actor): Promise<boolean>;
  /** Ends it now (CLOSED); answers when its flows are inactive. `why` is for log and evidence. */
  end(id: string, why: string, by: Actor): Promise<boolean>;

  posture(): Promise<PostureView>;
  /**
   * The console's own statement. It can only restrict: the most restrictive source governs. Answers the posture after it.
   * POSTURE_CHANGED when it was tentative, and what waits to be confirmed by then is another console's.
   */
  setPosture(statement: ConsoleStatement, by: Actor): Promise<PostureView>;
  /**
   * What waits to be confirmed, which `epoch` names, stands from now on. Answers the posture after it.
   * MALFORMED when nothing waits; POSTURE_CHANGED when another statement does.
   */
  confirmPosture(epoch: bigint, by: Actor): Promise<PostureView>;
  /** What the console's saying a level would do. Nothing is done. */
  previewPosture(level: PostureLevel): Promise<PosturePreview>;

  /**
   * What a source has said so far does not count any more; its next statement does. Answers the posture after it.
   * MALFORMED for a source that never said anything.
   */
  setAside(source: string, why: string, by: Actor, epoch?: bigint): Promise<PostureView>;

  /** Neither dials nor admits the peer's site, and ends what stands of it; MALFORMED for a name that no peer has. */
  holdPeer(peer: string, why: string, by: Actor): Promise<void>;
  /** Lifts whatever holds the peer; false when nothing does. */
  releasePeer(peer: string, why: string, by: Actor): Promise<boolean>;
  /** A signed release (protocol/README.md §6), from anybody: its signature is what counts. */
  deliverRelease(document: Uint8Array, by: Actor): Promise<void>;

  readonly evidence: EvidenceDesk;
  /** Governed routes of the underlay. */
  readonly underlay: RouteDesk;

  readonly revocations: RevocationDesk;

  /** Mesh peers of the config, in its order. */
  peers(): Promise<readonly PeerView[]>;
  /** What only the running gateway can say of its health; the offline half is the command line's. */
  diagnose(): Promise<readonly Finding[]>;
  /** `listener` must not throw; it is called in the order of events until disposed. */
  watch(listener: (event: GatewayEvent) => void): Disposable;
}

// ── status ───────────────────────────────────────────────────────────────────────────────────────────────────

export interface GatewayStatus {
  readonly instance: string;
  /** Trust domain. */
  readonly site: string;
  /** Of our SVID; undefined before the Workload API gave one. */
  readonly spiffeId?: string | undefined;
  readonly version: string;
  readonly startedAtMs: number;
  /** The gateway's wall clock at the answer; ages are relative to it. */
  readonly nowMs: number;
  readonly posture: PostureView;
  readonly identity: IdentityView;
  readonly tunnel: TunnelView;
  /** Interfaces that the packet filter is attached to. */
  readonly interfaces: readonly InterfaceView[];
  /** Until the node's lease lapses; negative: lapsed, the data plane drops everything; undefined: none was taken yet. */
  readonly leaseRemainingMs?: number | undefined;
  readonly counts: Counts;
  readonly accord: { readonly id: string; readonly serial: number; readonly hash: string };
  readonly evidence: EvidenceView;
  /** Prefixes, as text: what is internal here is external to peers. */
  readonly translations: readonly { readonly internal: string; readonly external: string }[];
  /** Names of peers: whose packets may go on to whom through us. `stands`: both are connected. */
  readonly forwards: readonly { readonly from: string; readonly to: string; readonly stands: boolean }[];
  /** Why newcomers at level 3 and below are refused; undefined: what was revoked is known whole and recent. */
  readonly revocationsStale?: string | undefined;
}

export interface PostureView {
  readonly effective: PostureLevel;
  readonly epoch: bigint;
  readonly sinceMs: number;
  readonly sources: readonly PostureSourceView[];
  /** Why some source may not be heard, one sentence each. */
  readonly problems: readonly string[];
  /** The console's level is tentative: it goes back to the former one. */
  readonly unconfirmed?: UnconfirmedView | undefined;
}

export interface UnconfirmedView {
  readonly formerLevel: PostureLevel;
  readonly untilMs: number;
  /** Of the console's statement: what a confirmation names. */
  readonly epoch: bigint;
}

export interface PostureSourceView {
  /** `console`, `map`, `bascule`, `accord`, … */
  readonly source: string;
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly sinceMs: number;
  /** Undefined: until it is withdrawn. */
  readonly expiresAtMs?: number | undefined;
  readonly reason: string;
  /** Its level is the effective one; several sources may hold it at once. */
  readonly governs: boolean;
  readonly setAside: boolean;
}

export interface IdentityView {
  readonly workloadApiConnected: boolean;
  /** Why not, in the Workload API's own words; empty when connected. */
  readonly detail: string;
  readonly svidExpiresAtMs?: number | undefined;
  readonly bundles: readonly BundleView[];
}

export interface BundleView {
  readonly trustDomain: string;
  readonly refreshedAtMs: number;
  readonly stale: boolean;
}

export interface TunnelView {
  readonly driver: TunnelDriver['kind'] | 'none';
  /** What the probe found, in one sentence. */
  readonly why: string;
  /** Empty and 0 while there is none. */
  readonly device: string;
  readonly listenPort: number;
}

export interface InterfaceView {
  readonly name: string;
  readonly ifindex: number;
  readonly kind: InterfaceKind;
}

export interface Counts {
  readonly pendingHandshakes: number;
  readonly sessions: number;
  readonly streams: number;
  readonly tunnelPeers: number;
  readonly flows: number;
  readonly heldPeers: number;
  /** Processes that listen for sessions. */
  readonly terminators: number;
}

// ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface SessionFilter {
  readonly peer?: string | undefined;
  readonly type?: SessionType | undefined;
  readonly state?: SessionState | undefined;
}

export interface SessionView {
  readonly id: string;
  /** What this gateway is in it. */
  readonly role: Role;
  /** SPIFFE ID. */
  readonly peer: string;
  /** Of the initiator, as this side verified it; undefined where we are the initiator and were not told. */
  readonly tier?: Tier | undefined;
  readonly type: SessionType;
  readonly mode: Mode;
  readonly state: SessionState;
  readonly capabilities: readonly Capability[];
  readonly effectiveLevel: PostureLevel;
  /** Whose posture sets the effective level. */
  readonly governedBy: GovernedBy;
  readonly peerLevel: PostureLevel;
  readonly openedAtMs: number;
  readonly expiresAtMs: number;
}

export interface SessionDetail extends SessionView {
  readonly targets: readonly GrantedTarget[];
  /** At the initiator, for the responder to reach. Absent: nothing. */
  readonly offered?: readonly GrantedTarget[];
  readonly counters: FlowCounters;
  /** Mesh sessions only. */
  readonly tunnel?: TunnelPeerView | undefined;
  /** At most 256, oldest first. */
  readonly streams: readonly StreamView[];
}

export interface TunnelPeerView {
  /** Undefined: no WireGuard handshake yet. */
  readonly handshakeAgeMs?: number | undefined;
  /** ADDRESS:PORT; undefined: not learnt yet. */
  readonly endpoint?: string | undefined;
  /** Its packets go in the session: UDP does not get through. */
  readonly carried?: boolean | undefined;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

export interface StreamView {
  readonly id: number;
  /** ADDRESS:PORT */
  readonly target: string;
  readonly openedBy: Side;
  readonly openedAtMs: number;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

// ── posture, peers, findings ─────────────────────────────────────────────────────────────────────────────────

export interface ConsoleStatement {
  readonly level: PostureLevel;
  /** In the operator's words; 1 to 256 characters. */
  readonly reason: string;
  /** Undefined: until the console says otherwise. */
  readonly forMs?: number | undefined;
  /** Taken back after this time, unless it is confirmed. */
  readonly confirmWithinMs?: number | undefined;
}

export interface PosturePreview {
  /** The effective level now. */
  readonly from: PostureLevel;
  /** What it would be: another source may hold a lower one than was asked for. */
  readonly to: PostureLevel;
  /** Of all sessions. */
  readonly counts: Readonly<Record<PreviewedFate, number>>;
  /** At most 256 of those that would not stay as they are, the hardest hit first. */
  readonly sessions: readonly PreviewedSessionView[];
  /** Interfaces that would be cut off. */
  readonly isolates: readonly string[];
  /** Governed routes of the underlay that would be taken out of the kernel, and put back. */
  readonly withdrawn: PreviewedRoutes;
  readonly restored: PreviewedRoutes;
}

export interface PreviewedRoutes {
  readonly count: number;
  /** At most 100 of them, as `routes list` writes them. */
  readonly first: readonly string[];
}

export interface PreviewedSessionView {
  readonly id: string;
  readonly peer: string;
  readonly type: SessionType;
  readonly fate: PreviewedFate;
  /** Of a drain. */
  readonly deadlineMs: number;
}

export interface PeerView {
  readonly name: string;
  readonly spiffeId: string;
  /** HOST:PORT that we dial; undefined: it dials us. */
  readonly address?: string | undefined;
  readonly state: PeerState;
  readonly session?: string | undefined;
  readonly nextDialAtMs?: number | undefined;
  readonly lastFailure?: { readonly reason: Reason; readonly atMs: number; readonly detail: string } | undefined;
  readonly hold?: HoldView | undefined;
  /** The packets of its tunnel go in the session: UDP does not get through. */
  readonly carried?: boolean | undefined;
}

export interface HoldView {
  readonly id: string;
  readonly sinceMs: number;
  /** As the peer's DRAIN said it; 0 without one. */
  readonly epoch: bigint;
  readonly cause: HoldCause;
  readonly reason: string;
}

/** One thing a diagnosis looked at. */
export interface Finding {
  readonly name: string;
  readonly state: FindingState;
  readonly detail: string;
  /** The command or the change that mends it; only where there is something to mend. */
  readonly mend?: string | undefined;
}

// ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

export type GatewayEvent =
  | { readonly kind: 'session-opened'; readonly atMs: number; readonly session: SessionView }
  | {
      readonly kind: 'session-ended';
      readonly atMs: number;
      readonly id: string;
      readonly peer: string;
      readonly reason: Reason;
      readonly byPeer: boolean;
    }
  | { readonly kind: 'denied'; readonly atMs: number; readonly denial: Omit<FlowDenial, 'atBootNs'> }
  | {
      readonly kind: 'posture-changed';
      readonly atMs: number;
      readonly from: PostureLevel;
      readonly to: PostureLevel;
      readonly epoch: bigint;
      /** Whose statement it follows. */
      readonly source: string;
      readonly reason: string;
    }
  | {
      readonly kind: 'drain-received';
      readonly atMs: number;
      readonly id: string;
      readonly peer: string;
      readonly reason: Reason;
      /** The peer's level where posture is the reason. */
      readonly level?: PostureLevel | undefined;
      readonly deadlineMs: number;
    }
  | {
      readonly kind: 'held';
      readonly atMs: number;
      /** Of the hold. */
      readonly id: string;
      readonly peer: string;
      readonly cause: HoldCause;
      readonly reason: string;
    }
  | {
      readonly kind: 'released';
      readonly atMs: number;
      readonly id: string;
      readonly peer: string;
      readonly by: (typeof RELEASED_BY)[number];
    };

/** What a watcher on the socket sees: the gateway's events, and how many it was too slow for. */
export type WatchedEvent = GatewayEvent | { readonly kind: 'lost'; readonly atMs: number; readonly events: number };

// ── closed lists of words ────────────────────────────────────────────────────────────────────────────────────

export const ROLES = ['initiator', 'responder'] as const;
export type Role = (typeof ROLES)[number];

export const SESSION_STATES = ['opening', 'active', 'draining'] as const;
export type SessionState = (typeof SESSION_STATES)[number];

export const GOVERNED_BY = ['local', 'peer', 'both'] as const;
export type GovernedBy = (typeof GOVERNED_BY)[number];

export const SIDES = ['local', 'peer'] as const;
export type Side = (typeof SIDES)[number];

export const INTERFACE_KINDS = ['tunnel', 'outer'] as const;
export type InterfaceKind = (typeof INTERFACE_KINDS)[number];

export const TUNNEL_DRIVERS = ['kernel', 'embedded', 'memory', 'none'] as const;

/** `expected`: it dials us and has not. `waiting`: until `nextDialAtMs`. */
export const PEER_STATES = ['connected', 'connecting', 'waiting', 'expected', 'held'] as const;
export type PeerState = (typeof PEER_STATES)[number];

export const RELEASED_BY = ['console', 'document', 'attestation'] as const;

export const FINDING_STATES = ['ok', 'warning', 'missing'] as const;
export type FindingState = (typeof FINDING_STATES)[number];
