/**
 * What the initiator of a mesh session opens to its responder (protocol/README.md §3.4): a grant in the other direction,
 * as each of the two ends decides about it.
 */
import { ShellstreamError } from '../errors.ts';
import { formatPrefix, prefixContains } from '../net/prefix.ts';
import type { Accord } from '../posture/accord.ts';
import { type DecisionInput, decide } from './decide.ts';
import { CAPABILITIES, type GrantedTarget, type Prefix, type Target } from './model.ts';
import { targetFloor } from './scope.ts';

export interface OfferInput extends Omit<DecisionInput, 'type' | 'request'> {
  /** What is to be opened to the identity. */
  readonly targets: readonly Target[];
  /** What of the initiator's the same session makes reachable, its tunnel addresses among it. */
  readonly advertised: readonly Prefix[];
}

/**
 * At the initiator: what it opens, by the same decision as a request's. All of it or nothing; none where the level leaves
 * the identity no capability to reach a target.
 * @throws ShellstreamError TARGET_NOT_ALLOWED
 */
export function decideOffer(input: OfferInput): readonly GrantedTarget[] {
  const { targets, advertised, identity } = input;
  if (targets.length === 0) return [];
  refuseOutside(targets, advertised);
  const request = { capabilities: CAPABILITIES, targets, advertise: [] };
  const decision = decide({ ...input, type: 'mesh', request });
  if (decision.kind === 'grant') return decision.grant.targets;
  throw new ShellstreamError(
    'TARGET_NOT_ALLOWED',
    `the accord does not let ${identity} have what is offered: ${decision.reason}, ${decision.detail}`,
  );
}

/**
 * At the responder: what it may reach at the initiator, under its own accord. Who may is the initiator's to say; that it is
 * the initiator's own is seen to here, or an offer would lead our packets to another site, or to ourselves.
 * @param reachable the initiator's prefixes that were accepted
 * @throws ShellstreamError TARGET_NOT_ALLOWED
 */
export function takeOffer(
  accord: Accord,
  offered: readonly Target[],
  reachable: readonly Prefix[],
): readonly GrantedTarget[] {
  refuseOutside(offered, reachable);
  for (const { protocol, port } of offered) {
    if (WITH_PORTS.has(protocol) || (WITHOUT_PORTS.has(protocol) && port === 0)) continue;
    throw new ShellstreamError('TARGET_NOT_ALLOWED', `offered: protocol ${protocol} port ${port}`);
  }
  return offered.map((target) => ({ ...target, ...targetFloor(accord, 'mesh', target) }));
}

/** TCP and UDP, ICMP and ICMPv6: what a flow can be of. */
const WITH_PORTS: ReadonlySet<number> = new Set([6, 17]);
const WITHOUT_PORTS: ReadonlySet<number> = new Set([1, 58]);

function refuseOutside(targets: readonly Target[], prefixes: readonly Prefix[]): void {
  const outside = targets.find(({ prefix }) => !prefixes.some((outer) => prefixContains(outer, prefix)));
  if (outside === undefined) return;
  throw new ShellstreamError('TARGET_NOT_ALLOWED', `offered: ${formatPrefix(outside.prefix)} is not advertised`);
}
