/** Who may hand in, ask and propose. What is not listed may nothing. */
import type { Tier } from '../../protocol/capability/model.ts';
import { matchesSpiffeId, type SpiffeId, type SpiffeIdPattern } from '../../protocol/identity/spiffe-id.ts';

/** Somebody whom the connection proved, and what follows from it. */
export interface Caller {
  /** For the log. */
  readonly name: string;
  /** Undefined: the console of this host. */
  readonly spiffeId: SpiffeId | undefined;
  /** What it sees; undefined: nothing. */
  readonly tier: Tier | undefined;
  readonly mayPropose: boolean;
  maySubmit(origin: string): boolean;
}

export interface AccessRules {
  /** A log is of one identity: nobody else may write it, however trusted. */
  readonly submitters: readonly { readonly spiffeId: SpiffeId; readonly origin: string }[];
  /** The first that matches counts. */
  readonly readers: readonly { readonly pattern: SpiffeIdPattern; readonly tier: Tier }[];
  readonly proposers: readonly SpiffeIdPattern[];
}

/** Undefined: a stranger. */
export function callerOf(rules: AccessRules, spiffeId: SpiffeId): Caller | undefined {
  const origins = new Set(rules.submitters.filter((one) => one.spiffeId === spiffeId).map(({ origin }) => origin));
  const tier = rules.readers.find(({ pattern }) => matchesSpiffeId(pattern, spiffeId))?.tier;
  const mayPropose = rules.proposers.some((pattern) => matchesSpiffeId(pattern, spiffeId));
  if (origins.size === 0 && tier === undefined && !mayPropose) return undefined;
  return { name: spiffeId, spiffeId, tier, mayPropose, maySubmit: (origin) => origins.has(origin) };
}

/** A process of this host that the kernel vouches for: it reads as its tier and writes nothing. */
export function consoleCaller(uid: number, tier: Tier): Caller {
  return { name: `uid ${uid}`, spiffeId: undefined, tier, mayPropose: false, maySubmit: () => false };
}

/** This process itself, with its own log. */
export function ownCaller(origin: string): Caller {
  const name = 'this process';
  return { name, spiffeId: undefined, tier: 'site_owner', mayPropose: false, maySubmit: (other) => other === origin };
}
