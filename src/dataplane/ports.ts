/**
 * What the enforcer needs of a data plane. Two drivers: `linux/` (eBPF, WireGuard, netlink) and `memory/`
 * (behaves alike, keeps its state in maps, shipped for tests). One contract suite runs on both.
 *
 * Everything here is plain data and idempotent verbs: removing what is gone succeeds. Calls that touch the
 * kernel are promises even where today's driver answers at once, because the driver may live in another thread.
 */
import type { Prefix } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { DataPlaneRules } from '../../protocol/posture/level-rules.ts';

export interface DataPlane extends AsyncDisposable {
  readonly flows: FlowTable;
  readonly tunnels: TunnelDriver;
  readonly network: NetworkLinks;
  readonly governance: GovernancePage;
  /** Nanoseconds of CLOCK_BOOTTIME, the clock of all deadlines in flow maps. */
  bootTimeNs(): bigint;
}

// ── flows ────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ExternalPosture {
  /** Slot 0 of the map that others can reach, as it stands there. */
  readonly raw: number;
  /**
   * `ours`: it is the one that the programs read. `foreign`: another map was put in its place, and what is written there
   * reaches no program. `gone`: nobody finds it any more, and it could not be put back.
   */
  readonly pin: PosturePin;
}

export type PosturePin = 'ours' | 'foreign' | 'gone';

/**
 * The packet filter on governed interfaces. A packet passes when
 * min(posture slots, level of the peer) ≥ floor of its flow, and its session is active, unexpired and of the same
 * generation, and the node's lease stands; or when it answers such a packet (`flow_state`).
 * Everything else on a governed interface is dropped, counted, and reported as a denial.
 */
export interface FlowTable {
  /**
   * Puts the filter on an interface, before it is up. `tunnel`: only granted flows pass, both ways.
   * `outer`: everything passes above level 1; at level 1 only `allowAtLockdown` and, for 500 ms, what `setControl` named.
   */
  attach(attachment: FlowAttachment): Promise<void>;
  detach(ifindex: number): Promise<void>;
  /** Whether a filter of a former run is on the interface, and the next `attach` replaces it with no moment between. */
  replacesAtOnce(ifindex: number): Promise<boolean>;

  /** Ties source addresses behind an interface to a peer slot; a packet from elsewhere is dropped there. */
  pinSources(ifindex: number, peerSlot: number, prefixes: readonly Prefix[]): Promise<void>;
  unpinSources(ifindex: number, prefixes: readonly Prefix[]): Promise<void>;

  /**
   * Which peers' packets may go on to which others, over one interface, where the grants of both hops cover them: from now on
   * these and no others. None at the beginning. DATAPLANE_FULL when there is no room for all: then those before it stay.
   */
  setForwards(forwards: readonly Forward[]): Promise<void>;

  /** Writes the level of one peer: one map write governs all its flows. */
  setPeerLevel(peerSlot: number, level: PostureLevel): Promise<void>;

  /**
   * Installs the flows of a session as inactive; what its slot held before is removed. All or nothing: a partial batch is
   * rolled back, then DATAPLANE_FULL.
   */
  install(session: FlowSession, rules: readonly FlowRule[]): Promise<void>;
  /** One write: from now on the session's packets pass. */
  activate(session: FlowSession): Promise<void>;
  /** One write: from now on none pass. Idempotent. */
  deactivate(sessionSlot: number): Promise<void>;
  /** Removes what `install` wrote; deactivates first when still active. Idempotent. */
  remove(sessionSlot: number, rules: readonly FlowRule[]): Promise<void>;
  /** Moves the deadline of an active session. */
  extend(sessionSlot: number, generation: number, expiresAtBootNs: bigint): Promise<void>;

  /**
   * The exact 5-tuples that may pass for the control window at level 1 (DRAIN must get out): from now on these and no
   * others; what stays allowed is allowed all the while. One batch, 10,000 in milliseconds. DATAPLANE_FULL when there is
   * no room for all: then those before it stay.
   */
  setControl(flows: readonly ControlFlow[]): Promise<void>;

  /** Moves the node's lease; past it every session's packets drop. */
  renewLease(untilBootNs: bigint): Promise<void>;

  /** The posture map: slot 0 is written by others, slot 1 by us. Raw numbers as they stand in the map. */
  posture(): Promise<{ readonly external: number; readonly own: number }>;
  setPosture(level: PostureLevel): Promise<void>;
  /** Called within 10 ms of a change of slot 0, or of what others find as the posture map. */
  onExternalPosture(listener: (external: ExternalPosture) => void): Disposable;

  /** Denials from the ring buffer, in batches; lossy under flood, the counters are not. */
  onDenials(listener: (denials: readonly FlowDenial[]) => void): Disposable;
  /** Levels of the node as packets met them: one event a change, at most 1,000 a second, from the ring buffer. */
  onLevelSeen(listener: (seen: readonly LevelSeen[]) => void): Disposable;
  counters(sessionSlot: number): Promise<FlowCounters>;

  /**
   * Removes every entry and attachment of former runs of this instance (the posture map's slot 0 stays).
   * @param keep an interface that goes on to carry packets: the filter stays on it, and passes what a former run's entries
   * say under its lease, until `attach` replaces it in one step
   */
  reset(keep?: number): Promise<void>;
}

export interface FlowAttachment {
  readonly ifindex: number;
  readonly kind: 'tunnel' | 'outer';
  /** Only for `outer`. */
  readonly allowAtLockdown?: readonly StaticFlow[];
  /** Only for `tunnel`; at most 16 on all interfaces, none of whose prefixes overlap. */
  readonly translations?: readonly Translation[];
}

/**
 * One prefix for another, one to one, without state (RFC 6296's terms): what leaves from `internal` has `external` on the wire, and
 * what comes for `external` goes to `internal`. Host parts stay. Rules, pins and denials are about external addresses.
 */
export interface Translation {
  readonly internal: Prefix;
  readonly external: Prefix;
}

export interface StaticFlow {
  readonly direction: 'in' | 'out';
  readonly remote: Prefix;
  readonly protocol: number;
  /** The port on our side for `in`, on the remote side for `out`; 0: any. */
  readonly port: number;
}

export interface FlowSession {
  readonly sessionSlot: number;
  readonly generation: number;
  readonly peerSlot: number;
  readonly expiresAtBootNs: bigint;
}

/** Peer slots. */
export interface Forward {
  readonly from: number;
  readonly to: number;
}

/**
 * One granted target on one interface. `in`: packets that arrive on the interface from the peer towards `destination`
 * (we host the target). `out`: packets that leave by the interface towards `destination` (the peer hosts it).
 * The other direction passes only as the answer to such packets.
 */
export interface FlowRule {
  readonly ifindex: number;
  readonly direction: 'in' | 'out';
  readonly destination: Prefix;
  /** IANA protocol number: 6, 17, 1, 58. */
  readonly protocol: number;
  /** Destination port; 0: any. */
  readonly port: number;
  /** Lowest effective level at which it passes. */
  readonly floor: number;
}

export interface ControlFlow {
  readonly protocol: number;
  readonly localAddress: Uint8Array;
  readonly localPort: number;
  readonly remoteAddress: Uint8Array;
  readonly remotePort: number;
}

/** In the order of `enum cause` in native/bpf/layout.h, from 1. */
export const DENIAL_CAUSES = [
  'NO_FLOW',
  'SOURCE_NOT_PINNED',
  'POSTURE',
  'SESSION_INACTIVE',
  'SESSION_EXPIRED',
  'LEASE_EXPIRED',
  'STATE_FULL',
  'MALFORMED',
  'ISOLATED',
  'NOT_FORWARDED',
] as const;
export type DenialCause = (typeof DENIAL_CAUSES)[number];

export interface FlowDenial {
  readonly cause: DenialCause;
  readonly ifindex: number;
  readonly direction: 'in' | 'out';
  readonly protocol: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly atBootNs: bigint;
}

/** The programs saw another level of the node than the one seen last, whoever wrote it. */
export interface LevelSeen {
  /** CLOCK_BOOTTIME of the packet that met it. */
  readonly atBootNs: bigint;
  /** Undefined: the first since the programs were loaded. */
  readonly from: PostureLevel | undefined;
  readonly level: PostureLevel;
  /** Which of the two slots says so: the shell's governance, or this node; both when they are equal. */
  readonly heldBy: 'external' | 'own' | 'both';
  /** Of all such events, from 1: a gap is what was lost on the way. */
  readonly number: bigint;
}

export interface FlowCounters {
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly denied: bigint;
}

// ── tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

/** WireGuard, in the kernel or embedded; chosen by probe. */
export interface TunnelDriver {
  readonly kind: 'kernel' | 'embedded' | 'memory';
  /** Creates a device that is down. The name must be free. */
  create(spec: TunnelSpec): Promise<TunnelDevice>;
  /** Whether devices outlive the process that made them. */
  readonly survives: boolean;
  /** The device that a former run left under the name, with nothing of it changed; undefined when there is none. */
  adopt(name: string): Promise<AdoptedTunnel | undefined>;
  /** Deletes devices of former runs whose name begins with `prefix`; answers their names. */
  removeLeftovers(prefix: string): Promise<readonly string[]>;
}

export interface TunnelSpec {
  /** At most 15 characters. */
  readonly name: string;
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** UDP; 0 lets the kernel choose. */
  readonly listenPort: number;
  readonly mtu: number;
}

export interface AdoptedTunnel {
  readonly device: TunnelDevice;
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
}

export interface TunnelDevice extends AsyncDisposable {
  readonly name: string;
  readonly ifindex: number;
  /** The UDP port it really listens on. */
  readonly listenPort: number;
  /** Adds a peer; refuses a key that is already there (a swap is remove, then add, so that old key pairs die). */
  addPeer(peer: TunnelPeer): Promise<void>;
  /** Whether it was there. */
  removePeer(publicKey: Uint8Array): Promise<boolean>;
  /** How many were there. One batch: a thousand cost little more than one. */
  removePeers(publicKeys: readonly Uint8Array[]): Promise<number>;
  removeAllPeers(): Promise<void>;
  /** How many were there. Seconds; 0 sends none. Keys and sessions of the peers stay as they are. */
  setKeepalive(publicKeys: readonly Uint8Array[], seconds: number): Promise<number>;
  peers(): Promise<readonly TunnelPeerState[]>;
}

export interface TunnelPeer {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  /** Undefined: the peer dials us, its endpoint is learnt. */
  readonly endpoint?: { readonly address: string; readonly port: number };
  readonly allowedIps: readonly Prefix[];
  /** Seconds; 0 sends none. */
  readonly keepalive: number;
}

export interface TunnelPeerState {
  readonly publicKey: Uint8Array;
  readonly endpoint?: { readonly address: string; readonly port: number };
  readonly allowedIps: readonly Prefix[];
  /** Milliseconds since the last WireGuard handshake; undefined: none yet. */
  readonly handshakeAgeMs?: number;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
  /** Seconds; 0: none are sent. */
  readonly keepalive: number;
}

// ── links, addresses, routes ─────────────────────────────────────────────────────────────────────────────────

/** Links, addresses and routes of this network namespace. Our routes carry protocol number 83. */
export interface NetworkLinks {
  setUp(ifindex: number): Promise<void>;
  setDown(ifindex: number): Promise<void>;
  addAddress(ifindex: number, address: Prefix): Promise<void>;
  /** Replaces; one batch. */
  addRoutes(routes: readonly Route[]): Promise<void>;
  /** Idempotent; one batch. */
  removeRoutes(routes: readonly Route[]): Promise<void>;
  /** Only ours (protocol 83). */
  routes(): Promise<readonly Route[]>;
  /** Links of this namespace. */
  links(): Promise<readonly Link[]>;
  /** Tells at once of changes to what `links` answers. */
  watchLinks(watcher: LinkWatcher): Disposable;
}

export interface LinkWatcher {
  /**
   * Links came, went, or changed their name or state; what, `links` tells. However many do so before a call begins are one
   * call, and it may come for nothing. Never from within `watchLinks`, nor after its end.
   */
  readonly changed: () => void;
  /** Nothing will be told any more, and why. Once at the most; from within `watchLinks` where the host has no way to tell. */
  readonly ended: (problem: string) => void;
}

export interface Route {
  readonly destination: Prefix;
  readonly ifindex: number;
  /** 254 is main. */
  readonly table: number;
  readonly gateway?: Uint8Array;
  readonly metric?: number;
}

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  readonly up: boolean;
  readonly loopback: boolean;
}

// ── governance page ──────────────────────────────────────────────────────────────────────────────────────────

/** `rules`: what the accord asks of a data plane at that level. */
export interface GovernanceState {
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly rules: DataPlaneRules;
}

/** The shared page that a data plane in user space polls; layout in native/kernel/include/governance_state.h. */
export interface GovernancePage {
  write(state: GovernanceState): void;
  /** Moves the heartbeat; a reader that sees it stale takes level 1. */
  beat(): void;
}
