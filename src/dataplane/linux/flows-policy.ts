/** The two policy maps: a hash for hosts, a trie for shorter prefixes. Written in batches, all or nothing. */
import { ShellstreamError } from '../../../protocol/errors.ts';
import { inverse, type Owner, type PolicyChange } from '../flow-claims.ts';
import { concat, isHostRule, packOwner, packPolicyKey, packPolicyPrefixKey } from './flows-packing.ts';
import type { FlowPlane } from './native.ts';

export interface PolicyMaps {
  /** DATAPLANE_FULL when the maps cannot hold it; then they are as they were before. */
  apply(changes: readonly PolicyChange[]): void;
}

type MapName = 'flow_policy' | 'flow_prefixes';

export function policyMaps(plane: FlowPlane): PolicyMaps {
  return {
    apply(changes) {
      const hosts = changes.filter((change) => isHostRule(change.rule));
      const prefixes = changes.filter((change) => !isHostRule(change.rule));
      applyTo(plane, 'flow_policy', hosts);
      try {
        applyTo(plane, 'flow_prefixes', prefixes);
      } catch (error) {
        applyTo(plane, 'flow_policy', hosts.map(inverse));
        throw error;
      }
    },
  };
}

function applyTo(plane: FlowPlane, map: MapName, changes: readonly PolicyChange[]): void {
  const gone = changes.filter((change) => change.after === undefined);
  if (gone.length > 0) plane.deleteBatch(map, concat(gone.map((change) => keyOf(map, change))));
  const written = changes.filter(hasOwner);
  if (written.length === 0) return;
  const { count, error } = plane.putBatch(
    map,
    concat(written.map((change) => keyOf(map, change))),
    concat(written.map((change) => packOwner(change.after))),
  );
  if (error === undefined) return;
  // What was overwritten or deleted fits again, because it was there before.
  applyTo(plane, map, [...written.slice(0, count), ...gone].map(inverse));
  throw new ShellstreamError('DATAPLANE_FULL', error);
}

function hasOwner(change: PolicyChange): change is PolicyChange & { readonly after: Owner } {
  return change.after !== undefined;
}

function keyOf(map: MapName, change: PolicyChange): Uint8Array {
  return map === 'flow_policy' ? packPolicyKey(change.rule) : packPolicyPrefixKey(change.rule);
}
