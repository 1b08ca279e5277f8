/**
 * Governed routes of the physical network: what keeps them, what the rest of the gateway gives them, and who is told of
 * each change. The routes of tunnels are the overlay's; here is only what each level leaves of them.
 */
import type { Prefix, TargetClass, Tier } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { GovernedRoute, RouteAction, RouteChange, RouteOwner, RouteSpec } from '../../protocol/routes/index.ts';

/** One change of the underlay, as evidence has it. */
export interface Mutation {
  /** 32 hex digits. */
  readonly id: string;
  readonly action: RouteAction;
  readonly route: RouteSpec;
  readonly class: TargetClass;
  readonly owner: RouteOwner;
  /** Who has it carried out. */
  readonly by: RouteOwner;
  readonly reason: string;
  readonly level: PostureLevel;
  /** Wall time, milliseconds. */
  readonly atMs: number;
  /** The proposal that it follows from. */
  readonly proposal?: string | undefined;
}

/** `undone`: a crash came between intent and outcome, and the next run took it back. */
export type MutationOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly reason: Reason; readonly detail: string }
  | { readonly kind: 'undone' };

/** Every mutation is notarised: one whose intent cannot be kept does not happen. */
export interface MutationWitness {
  /** Resolves when it is durable; the kernel is touched after that. A rejection refuses the mutation with its reason. */
  intent(mutation: Mutation): Promise<void>;
  outcome(mutation: Pick<Mutation, 'id'>, outcome: MutationOutcome): Promise<void>;
}

/** Told to nobody. */
export const NO_WITNESS: MutationWitness = { intent: async () => {}, outcome: async () => {} };

/** What the overlay is asked. */
export interface TunnelRoutes {
  /** Brings its routes to what the level leaves. */
  follow(): Promise<void>;
  /** What tunnels lead to now. */
  readonly prefixes: readonly Prefix[];
}

/** `adding` and `removing`: the kernel may have it or not; a run that finds one takes the route away. */
export const RECORD_STATES = ['adding', 'standing', 'removing'] as const;
export type RecordState = (typeof RECORD_STATES)[number];

export interface RouteRecord extends GovernedRoute {
  /** Of the mutation that made it. */
  readonly id: string;
  readonly state: RecordState;
  readonly reason: string;
  readonly atMs: number;
}

/** What the kernel had when level 5 was left, and what each stage since then did. */
export interface RouteSnapshot {
  readonly takenAtMs: number;
  /** `routeWords` of governed routes. */
  readonly routes: readonly string[];
  readonly stages: readonly RouteStage[];
}

export interface RouteStage {
  readonly level: PostureLevel;
  readonly atMs: number;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export interface RequestTokenRecord {
  /** SHA-256, hex: what is on disk lets nobody propose. */
  readonly hash: string;
  readonly proposer: RouteOwner;
  readonly expiresAtMs: number;
  readonly isSpent: boolean;
}

export const PROPOSAL_STATES = ['pending', 'approved', 'done', 'failed', 'rejected'] as const;
/** `approved`: it is being carried out, or a crash came between. */
export type ProposalState = (typeof PROPOSAL_STATES)[number];

export interface Proposal {
  /** 32 hex digits. */
  readonly id: string;
  readonly change: RouteChange;
  readonly proposer: RouteOwner;
  readonly atMs: number;
  readonly state: ProposalState;
  readonly decision?: { readonly by: string; readonly atMs: number; readonly detail: string } | undefined;
}

export interface KeptProposals {
  readonly tokens: readonly RequestTokenRecord[];
  readonly proposals: readonly Proposal[];
}

/** A record on disk: there whole or not at all. */
export interface Kept<T> {
  readonly value: T | undefined;
  /** Why it could not be read. */
  readonly problem?: string | undefined;
  /** Resolves when it is durable; undefined takes it away. */
  save(value: T | undefined): Promise<void>;
}

export interface UnderlayRecords {
  readonly routes: Kept<readonly RouteRecord[]>;
  readonly snapshot: Kept<RouteSnapshot>;
  readonly proposals: Kept<KeptProposals>;
}

/** The tier that an owner of routes has now; undefined: none any more. */
export type TierNow = (owner: RouteOwner) => Tier | undefined;
