/**
 * The words of a capability decision. Pure values; the wire forms are converted at the parser's edge
 * (`protocol/handshake/wire.ts`).
 */

/** Lowest first; each tier holds what the lower ones hold. */
export const TIERS = ['apprentice', 'journeyman', 'master', 'site_owner'] as const;
export type Tier = (typeof TIERS)[number];

export const SESSION_TYPES = [
  'management',
  'incident-response',
  'health-monitoring',
  'operator',
  'workload',
  'mesh',
] as const;
export type SessionType = (typeof SESSION_TYPES)[number];

export const CRITICAL_TYPES: ReadonlySet<SessionType> = new Set<SessionType>([
  'management',
  'incident-response',
  'health-monitoring',
]);

export const MODES = ['overlay', 'underlay'] as const;
export type Mode = (typeof MODES)[number];

export const CAPABILITIES = ['OBSERVE', 'CONNECT', 'SHELL', 'PROPOSE', 'EXECUTE', 'ADMIN'] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** What a target is for; decides the posture floor of its flows. */
export const TARGET_CLASSES = ['ordinary', 'management', 'incident', 'health', 'monitoring'] as const;
export type TargetClass = (typeof TARGET_CLASSES)[number];

/** An IP prefix: 4 or 16 bytes in network order with host bits zero, and a length in bits. */
export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** IANA protocol number; port 0 stands for every port. */
export interface Target {
  readonly prefix: Prefix;
  readonly protocol: number;
  readonly port: number;
}

export interface SessionRequest {
  readonly capabilities: readonly Capability[];
  readonly targets: readonly Target[];
  /** Prefixes behind the asking side; only mesh sessions may name any. */
  readonly advertise: readonly Prefix[];
}

/** A target with the lowest posture level at which its traffic still flows. */
export interface GrantedTarget extends Target {
  readonly class: TargetClass;
  readonly floor: number;
}

export interface Grant {
  readonly mode: Mode;
  readonly capabilities: readonly Capability[];
  readonly targets: readonly GrantedTarget[];
  /** Of the prefixes advertised by the asking side, those accepted. */
  readonly reachable: readonly Prefix[];
  /** The most the accord gives, milliseconds; SVID and SAT may end it sooner. */
  readonly lifetimeMs: number;
}
