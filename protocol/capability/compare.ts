/** Grants against one another: which is wider, and what two sides' decisions leave together. */
import { intersectPrefixes, prefixContains } from '../net/prefix.ts';
import type { Grant, GrantedTarget, Target } from './model.ts';

/** Whether everything that `inner` allows, `outer` allows too: capabilities, targets at each level, prefixes. Lifetimes aside. */
export function covers(outer: Grant, inner: Grant): boolean {
  return (
    outer.mode === inner.mode &&
    inner.capabilities.every((one) => outer.capabilities.includes(one)) &&
    inner.targets.every((target) =>
      outer.targets.some((limit) => limit.floor <= target.floor && containsTarget(limit, target)),
    ) &&
    inner.reachable.every((prefix) => outer.reachable.some((limit) => prefixContains(limit, prefix)))
  );
}

/** Whether a live grant is still all given by a new decision; if not, its session drains. */
export function stillCovers(grant: Grant, newGrant: Grant): boolean {
  return covers(newGrant, grant);
}

/**
 * What both decisions allow, each target under the higher floor and the lifetime the shorter; undefined where the modes
 * differ or no capability is left.
 */
export function intersectGrants(a: Grant, b: Grant): Grant | undefined {
  const capabilities = a.capabilities.filter((one) => b.capabilities.includes(one));
  if (a.mode !== b.mode || capabilities.length === 0) return undefined;
  return {
    mode: a.mode,
    capabilities,
    targets: a.targets.flatMap((one) => b.targets.flatMap((other) => intersectTargets(one, other) ?? [])),
    reachable: a.reachable.flatMap((one) => b.reachable.flatMap((other) => intersectPrefixes(one, other) ?? [])),
    lifetimeMs: Math.min(a.lifetimeMs, b.lifetimeMs),
  };
}

/** Port 0 stands for all of them. */
export function containsTarget(outer: Target, inner: Target): boolean {
  return (
    outer.protocol === inner.protocol &&
    (outer.port === 0 || outer.port === inner.port) &&
    prefixContains(outer.prefix, inner.prefix)
  );
}

function intersectTargets(a: GrantedTarget, b: GrantedTarget): GrantedTarget | undefined {
  const prefix = intersectPrefixes(a.prefix, b.prefix);
  if (prefix === undefined || a.protocol !== b.protocol) return undefined;
  if (a.port !== b.port && a.port !== 0 && b.port !== 0) return undefined;
  const stricter = a.floor >= b.floor ? a : b;
  return { prefix, protocol: a.protocol, port: a.port || b.port, class: stricter.class, floor: stricter.floor };
}
