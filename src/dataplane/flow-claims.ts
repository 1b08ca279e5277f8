/**
 * Who owns an entry of the policy map when several sessions were granted the same target, as happens while a new
 * session of a peer takes the place of the old one. The entry belongs to the session activated last; installing a
 * second claim takes nothing away from the first, and removing one hands the entry back to the other.
 */
import { type PolicyRule, policyKey } from './flow-rules.ts';
import type { FlowSession } from './ports.ts';

export interface Owner {
  readonly sessionSlot: number;
  readonly generation: number;
  readonly floor: number;
}

/** One entry to write, or to delete where `after` is undefined. */
export interface PolicyChange {
  readonly rule: PolicyRule;
  readonly before: Owner | undefined;
  readonly after: Owner | undefined;
}

export interface FlowClaims {
  /** Replaces what the slot claimed before. */
  install(session: FlowSession, rules: readonly PolicyRule[]): readonly PolicyChange[];
  activate(sessionSlot: number): readonly PolicyChange[];
  deactivate(sessionSlot: number): readonly PolicyChange[];
  remove(sessionSlot: number): readonly PolicyChange[];
  /** The generation of the session installed in the slot. */
  generationOf(sessionSlot: number): number | undefined;
  clear(): void;
}

export function inverse(change: PolicyChange): PolicyChange {
  return { rule: change.rule, before: change.after, after: change.before };
}

interface Claim extends Owner {
  /** 0: inactive; else grows with each activation. */
  activated: number;
}

interface Entry {
  readonly rule: PolicyRule;
  readonly claims: Claim[];
}

export function flowClaims(): FlowClaims {
  const entries = new Map<string, Entry>();
  const sessions = new Map<number, { readonly generation: number; readonly keys: Set<string> }>();
  let activations = 0;

  /** Applies `change` to the slot's claim on each of its entries, and says which entries have a new owner. */
  function changing(sessionSlot: number, change: (entry: Entry, claim: Claim) => void): PolicyChange[] {
    const changes: PolicyChange[] = [];
    for (const key of sessions.get(sessionSlot)?.keys ?? []) {
      const entry = entries.get(key);
      const claim = entry?.claims.find((one) => one.sessionSlot === sessionSlot);
      if (entry === undefined || claim === undefined) continue;
      const before = ownerOf(entry);
      change(entry, claim);
      note(changes, entry, before);
      if (entry.claims.length === 0) entries.delete(key);
    }
    return changes;
  }

  function remove(sessionSlot: number): PolicyChange[] {
    const changes = changing(sessionSlot, (entry, claim) => {
      entry.claims.splice(entry.claims.indexOf(claim), 1);
    });
    sessions.delete(sessionSlot);
    return changes;
  }

  return {
    install(session, rules) {
      const { sessionSlot, generation } = session;
      const changes = remove(sessionSlot);
      const keys = new Set<string>();
      sessions.set(sessionSlot, { generation, keys });
      for (const rule of widest(rules)) {
        const key = policyKey(rule);
        const entry = entries.get(key) ?? { rule, claims: [] };
        entries.set(key, entry);
        keys.add(key);
        const before = ownerOf(entry);
        entry.claims.push({ sessionSlot, generation, floor: rule.floor, activated: 0 });
        note(changes, entry, before);
      }
      return changes;
    },
    activate(sessionSlot) {
      activations += 1;
      return changing(sessionSlot, (_, claim) => {
        claim.activated = activations;
      });
    },
    deactivate(sessionSlot) {
      return changing(sessionSlot, (_, claim) => {
        claim.activated = 0;
      });
    },
    remove,
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
    if (owner === undefined || claim.activated >= owner.activated) owner = claim;
  }
  return owner === undefined
    ? undefined
    : { sessionSlot: owner.sessionSlot, generation: owner.generation, floor: owner.floor };
}

function note(changes: PolicyChange[], entry: Entry, before: Owner | undefined): void {
  const after = ownerOf(entry);
  const isSame =
    before?.sessionSlot === after?.sessionSlot &&
    before?.generation === after?.generation &&
    before?.floor === after?.floor;
  if (!isSame) changes.push({ rule: entry.rule, before, after });
}

/** Of rules with one key, the one with the lowest floor: each was granted. */
function widest(rules: readonly PolicyRule[]): Iterable<PolicyRule> {
  const byKey = new Map<string, PolicyRule>();
  for (const rule of rules) {
    const key = policyKey(rule);
    const other = byKey.get(key);
    if (other === undefined || rule.floor < other.floor) byKey.set(key, rule);
  }
  return byKey.values();
}
