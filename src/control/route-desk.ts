/** Governed routes at the console: what stands, changes, and proposals. Refusals throw `ShellstreamError`. */
import type { Tier } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { RouteChange, RouteDifference } from '../../protocol/routes/index.ts';
import type { Proposal, RouteRecord } from '../underlay/ports.ts';
import type { Actor } from './actor.ts';

/** The same at both ends of the socket; at the console's there is no actor to name. */
export interface RouteVerbs<By extends readonly unknown[]> {
  list(): Promise<RoutesView>;
  /** Oldest first. */
  proposals(): Promise<readonly Proposal[]>;
  /** Resolves when the kernel has it as it was asked, read back. */
  change(change: RouteChange, ...by: By): Promise<void>;
  /** Answers a token, 64 hex digits. */
  issueToken(terms: TokenTerms, ...by: By): Promise<string>;
  /** Answers the proposal's identifier. */
  propose(token: string, change: RouteChange, ...by: By): Promise<string>;
  /** Resolves when it was carried out. */
  approve(proposal: string, ...by: By): Promise<void>;
  reject(proposal: string, why: string, ...by: By): Promise<void>;
}

export type RouteDesk = RouteVerbs<[Actor]>;
export type RemoteRouteDesk = RouteVerbs<[]>;

export interface TokenTerms {
  /** SPIFFE ID; undefined: whoever asks. */
  readonly subject: string | undefined;
  readonly tier: Tier;
  readonly validMs: number;
}

export interface RoutesView {
  readonly level: PostureLevel;
  /** As recorded; `stays`: the level leaves it. */
  readonly routes: readonly (RouteRecord & { readonly stays: boolean })[];
  /** What the kernel has otherwise, as of the last reading back. */
  readonly differences: readonly RouteDifference[];
  /** When level 5 was left; undefined: it holds. */
  readonly snapshotAtMs: number | undefined;
  /** Why records are not on disk, or could not be read. */
  readonly problem: string | undefined;
}

/** Nothing is governed, and nothing can be: for gateways in memory. */
export const NO_ROUTES: RouteDesk = {
  list: async () => ({ level: 5, routes: [], differences: [], snapshotAtMs: undefined, problem: undefined }),
  proposals: async () => [],
  change: async () => {},
  issueToken: async () => '0'.repeat(64),
  propose: async () => '0'.repeat(32),
  approve: async () => {},
  reject: async () => {},
};
