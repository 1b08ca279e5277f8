import type { Capability, Mode, Prefix, SessionType, TargetClass, Tier } from '../capability/model.ts';
import type { TierRule } from '../capability/tier.ts';
import type { SpiffeIdPattern } from '../identity/spiffe-id.ts';
import type { PostureLevel } from './level.ts';
import type { LevelRules } from './level-rules.ts';
import type { AccordTimer } from './timer.ts';

/**
 * The accord as a value: what each posture level, tier, session type and identity may have at a site. Made by
 * `parseAccord`, which also proves that lower levels and tiers never get more than higher ones.
 */
export interface Accord {
  readonly id: string;
  /** Id of the accord that this one tightens; undefined for a whole document. */
  readonly extends: string | undefined;
  /** Grows with every change; a site never goes back to a lower one. */
  readonly serial: number;
  /** Name of the key that signed it, `none` for an unsigned one. */
  readonly signer: string;
  /** The lowest protocol version that can keep it. */
  readonly minimumVersion: number;
  /** Whether a document that extends this one brings its own targets, advertise and tiers, or may only narrow these. */
  readonly siteSections: 'open' | 'closed';
  readonly levels: Readonly<Record<PostureLevel, LevelRules>>;
  readonly capabilities: CapabilityTable;
  readonly sessionTypes: Readonly<Record<SessionType, SessionTypeRule>>;
  /** How long a drained session may finish what it does, milliseconds. */
  readonly drainMs: number;
  readonly targets: readonly TargetRule[];
  readonly advertise: readonly AdvertiseRule[];
  readonly tiers: TierRules;
  /** Each is a source of posture of its own. */
  readonly timers: readonly AccordTimer[];
}

export type CapabilityTable = Readonly<
  Record<Mode, Readonly<Record<Tier, Readonly<Record<PostureLevel, readonly Capability[]>>>>>
>;

/** `any`: every identity that has a tier here; foreign ones have none without a ceiling. */
export type Identities = 'any' | readonly SpiffeIdPattern[];

export interface Who {
  readonly identities: Identities;
  readonly minimumTier: Tier;
}

export interface SessionTypeRule {
  readonly modes: readonly Mode[];
  readonly lifetimeMs: number;
  readonly allow: readonly Who[];
}

/** A named piece of the network, and who may reach it. Where several allow, their union holds. */
export interface TargetRule {
  readonly name: string;
  readonly class: TargetClass;
  readonly prefixes: readonly Prefix[];
  /** IANA protocol number. */
  readonly protocol: number;
  /** Port 0, which asks for all of them, lies only in the range of all. */
  readonly ports: readonly PortRange[];
  readonly allow: readonly TargetAllowance[];
}

export interface TargetAllowance extends Who {
  /** Undefined: sessions of every type. */
  readonly types?: readonly SessionType[] | undefined;
}

/** Both ends included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

export const ALL_PORTS: PortRange = { from: 0, to: 65_535 };

/** Prefixes that an identity's site may have behind it. */
export interface AdvertiseRule {
  readonly identities: readonly SpiffeIdPattern[];
  readonly prefixes: readonly Prefix[];
}

export interface TierRules {
  /** Tiers given by identity. */
  readonly assigned: readonly TierRule[];
  /** The most that identities may have. */
  readonly ceilings: readonly TierRule[];
}
