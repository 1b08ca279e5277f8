/**
 * Who owns an entry of the policy map when several sessions were granted the same target, as happens while a new
 * session of a peer takes the place of the old one. The entry belongs to the session activated last; a second claim
 * takes nothing away from the first, and removing one hands the entry back to the other.
 */
import { type PolicyRule, policyKey } from './flow-rules.ts';
import type { FlowSession } from './ports.ts';

export interface Owner {
  readonly sessionSlot: number;
  readonly generation: number;
  readonly floor: number;
}

/** One entry to write, or to delete where `owner` is undefined. */
export interface PolicyChange {
  readonly rule: PolicyRule;
  readonly owner: Owner | undefined;
}

export interface FlowClaims {
  /** A session takes the slot, inactive and without claims; what the slot claimed before is removed. */
  open(session: FlowSession): readonly PolicyChange[];
  /** Of rules with one key the lowest floor counts: each was granted. */
  claim(sessionSlot: number, rules: readonly PolicyRule[]): readonly PolicyChange[];
  activate(sessionSlot: number): readonly PolicyChange[];
  deactivate(sessionSlot: number): readonly PolicyChange[];
  remove(sessionSlot: number): readonly PolicyChange[];
  /** Whether anybody claims it. */
  has(rule: PolicyRule): boolean;
  /** The generation of the session in the slot. */
  generationOf(sessionSlot: number): number | undefined;
  clear(): void;
}

interface Session {
  readonly sessionSlot: number;
  readonly generation: number;
  /** 0: inactive; else grows with each activation. */
  activated: number;
  readonly entries: Set<Entry>;
}

interface Claim {
  readonly session: Session;
  floor: number;
}

interface Entry {
  readonly rule: PolicyRule;
  /** In the order of installing. */
  readonly claims: Claim[];
}

export function flowClaims(): FlowClaims {
  const entries = new Map<string, Entry>();
  const sessions = new Map<number, Session>();
  let activations = 0;

  /** Says which of the session's entries have a new owner after `change`. */
  function changing(session: Session | undefined, change: (session: Session) => void): PolicyChange[] {
    if (session === undefined) return [];
    const before = [...session.entries].map((entry) => ({ entry, owner: ownerOf(entry) }));
    change(session);
    return before.filter(({ entry, owner }) => !isSame(owner, ownerOf(entry))).map(({ entry }) => changeOf(entry));
  }

  function remove(sessionSlot: number): PolicyChange[] {
    return changing(sessions.get(sessionSlot), (session) => {
      sessions.delete(sessionSlot);
      for (const entry of session.entries) {
        entry.claims.splice(
          entry.claims.findIndex((claim) => claim.session === session),
          1,
        );
        if (entry.claims.length === 0) entries.delete(policyKey(entry.rule));
      }
    });
  }

  return {
    open(session) {
      const { sessionSlot, generation } = session;
      const changes = remove(sessionSlot);
      sessions.set(sessionSlot, { sessionSlot, generation, activated: 0, entries: new Set() });
      return changes;
    },
    claim(sessionSlot, rules) {
      const session = sessions.get(sessionSlot);
      if (session === undefined) return [];
      const changes: PolicyChange[] = [];
      for (const rule of rules) {
        const key = policyKey(rule);
        const entry = entries.get(key) ?? { rule, claims: [] };
        entries.set(key, entry);
        const owner = ownerOf(entry);
        const own = entry.claims.find((claim) => claim.session === session);
        if (own === undefined) entry.claims.push({ session, floor: rule.floor });
        else own.floor = Math.min(own.floor, rule.floor);
        session.entries.add(entry);
        if (!isSame(owner, ownerOf(entry))) changes.push(changeOf(entry));
      }
      return changes;
    },
    activate(sessionSlot) {
      activations += 1;
      return changing(sessions.get(sessionSlot), (session) => {
        session.activated = activations;
      });
    },
    deactivate(sessionSlot) {
      return changing(sessions.get(sessionSlot), (session) => {
        session.activated = 0;
      });
    },
    remove,
    has: (rule) => entries.has(policyKey(rule)),
    generationOf: (sessionSlot) => sessions.get(sessionSlot)?.generation,
    clear() {
      entries.clear();
      sessions.clear();
    },
  };
}

/** The last activated; among inactive ones the last installed. */
function ownerOf(entry: Entry): Owner | undefined {
  let owner: Claim | undefined;
  for (const claim of entry.claims) {
    if (owner === undefined || claim.session.activated >= owner.session.activated) owner = claim;
  }
  if (owner === undefined) return undefined;
  const { sessionSlot, generation } = owner.session;
  return { sessionSlot, generation, floor: owner.floor };
}

function changeOf(entry: Entry): PolicyChange {
  return { rule: entry.rule, owner: ownerOf(entry) };
}

function isSame(one: Owner | undefined, other: Owner | undefined): boolean {
  return (
    one?.sessionSlot === other?.sessionSlot && one?.generation === other?.generation && one?.floor === other?.floor
  );
}
