/**
 * The two policy maps: a hash for hosts, a trie for shorter prefixes.
 *
 * Almost every host entry has one session that claims it, and of such an entry the kernel's own map is all the record
 * there is: it goes in and out with its session's whole buffer, and a key that is there already is found by the kernel.
 * Only such contested entries, and all prefixes, are in the books (`flow-claims`).
 */
import { ShellstreamError } from '../../../protocol/errors.ts';
import { flowClaims, type PolicyChange } from '../flow-claims.ts';
import type { FlowRule, FlowSession } from '../ports.ts';
import { concat } from './flows-packing.ts';
import type { FlowPlane } from './native.ts';
import * as pack from './policies-packing.ts';

export interface Policies {
  /** Takes out what the slot had, then puts these in; DATAPLANE_FULL when the maps cannot hold all, and then none is. */
  install(session: FlowSession, rules: readonly FlowRule[]): void;
  activate(sessionSlot: number): void;
  deactivate(sessionSlot: number): void;
  remove(sessionSlot: number): void;
  /** The generation of the session in the slot. */
  generationOf(sessionSlot: number): number | undefined;
  /** Forgets all; the maps are the caller's to clear. */
  forget(): void;
}

export function createPolicies(plane: FlowPlane): Policies {
  const claims = flowClaims();
  /** By session slot: its host entries as they were packed, contested ones among them. */
  const hosts = new Map<number, Uint8Array>();

  function remove(sessionSlot: number): void {
    // First, so that what another session takes over is no longer this one's to take out.
    apply(plane, claims.remove(sessionSlot));
    const entries = hosts.get(sessionSlot);
    hosts.delete(sessionSlot);
    if (entries !== undefined) plane.uninstallPolicies(entries);
  }

  function installHosts(session: FlowSession, entries: Uint8Array): void {
    for (let at = 0; at < entries.length; ) {
      const { count, isThere, error } = plane.installPolicies(entries.subarray(at));
      if (error !== undefined) throw new ShellstreamError('DATAPLANE_FULL', error);
      at += count * pack.ENTRY_BYTES;
      if (!isThere) continue;
      contest(session.sessionSlot, entries.subarray(at, at + pack.ENTRY_BYTES));
      at += pack.ENTRY_BYTES;
    }
  }

  /** The key of this entry is in the map already: who put it there enters the books first, then the newcomer does. */
  function contest(sessionSlot: number, entry: Uint8Array): void {
    const rule = pack.unpackPolicy(entry);
    if (!claims.has(rule)) {
      const value = plane.get('flow_policy', pack.keyOfEntry(entry));
      const owner = value === null ? undefined : pack.unpackOwner(value);
      if (owner !== undefined) claims.claim(owner.sessionSlot, [{ ...rule, floor: owner.floor }]);
    }
    apply(plane, claims.claim(sessionSlot, [rule]));
  }

  return {
    install(session, rules) {
      const { sessionSlot } = session;
      const packed = pack.packPolicies(session, rules);
      remove(sessionSlot);
      claims.open(session);
      hosts.set(sessionSlot, packed.hosts);
      try {
        installHosts(session, packed.hosts);
        apply(plane, claims.claim(sessionSlot, packed.prefixes));
      } catch (error) {
        remove(sessionSlot);
        throw error;
      }
    },
    activate(sessionSlot) {
      apply(plane, claims.activate(sessionSlot));
    },
    deactivate(sessionSlot) {
      apply(plane, claims.deactivate(sessionSlot));
    },
    remove,
    generationOf: claims.generationOf,
    forget() {
      claims.clear();
      hosts.clear();
    },
  };
}

/** DATAPLANE_FULL when they do not all fit; those that change hands or go always do. */
function apply(plane: FlowPlane, changes: readonly PolicyChange[]): void {
  for (const map of ['flow_policy', 'flow_prefixes'] as const) {
    const here = changes.filter(({ rule }) => pack.isHostRule(rule) === (map === 'flow_policy'));
    if (here.length === 0) continue;
    const keyOf = map === 'flow_policy' ? pack.packPolicyKey : pack.packPolicyPrefixKey;
    const gone = here.filter(({ owner }) => owner === undefined);
    if (gone.length > 0) plane.deleteBatch(map, concat(gone.map(({ rule }) => keyOf(rule))));
    const owned = here.flatMap(({ rule, owner }) => (owner === undefined ? [] : [{ rule, owner }]));
    if (owned.length === 0) continue;
    const keys = concat(owned.map(({ rule }) => keyOf(rule)));
    const { error } = plane.putBatch(map, keys, concat(owned.map(({ owner }) => pack.packOwner(owner))));
    if (error !== undefined) throw new ShellstreamError('DATAPLANE_FULL', error);
  }
}
