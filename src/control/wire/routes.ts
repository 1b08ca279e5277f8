/** Governed routes between the words of `route-desk.ts` and the messages of shellstream.control.v1, both ways. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { TARGET_CLASSES, TIERS } from '../../../protocol/capability/model.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type {
  GovernedRoute,
  GovernedRouteSchema,
  RouteChangeSchema,
  RouteProposal,
  RouteProposalSchema,
  RouteSpecSchema,
  RoutesSchema,
  RouteChange as WireChange,
  RouteSpec as WireSpec,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { isCanonicalPrefix } from '../../../protocol/net/prefix.ts';
import { DIFFERENCE_KINDS, ROUTE_ACTIONS, type RouteChange, type RouteSpec } from '../../../protocol/routes/index.ts';
import { PROPOSAL_STATES, type Proposal, RECORD_STATES } from '../../underlay/ports.ts';
import type { RoutesView } from '../route-desk.ts';
import { word } from './words.ts';

type RecordView = RoutesView['routes'][number];

/** Differences beyond this many are counted, not listed. */
const MOST_DIFFERENCES = 100;

export function encodeRoutes(
  view: RoutesView,
  routes: readonly RecordView[],
  next: string,
): MessageInitShape<typeof RoutesSchema> {
  return {
    level: view.level,
    routes: routes.map(encodeRecord),
    next,
    differences: view.differences
      .slice(0, MOST_DIFFERENCES)
      .map(({ kind, route }) => ({ kind, route: encodeSpec(route) })),
    snapshotAtMs: view.snapshotAtMs === undefined ? undefined : BigInt(Math.floor(view.snapshotAtMs)),
    problem: view.problem,
  };
}

export function decodeDifference({ kind, route }: { readonly kind: string; readonly route?: WireSpec | undefined }) {
  return { kind: word(DIFFERENCE_KINDS, kind), route: decodeSpec(route) };
}

export function decodeRecord(message: GovernedRoute): RecordView {
  return {
    id: message.id,
    state: word(RECORD_STATES, message.state),
    route: decodeSpec(message.route),
    class: word(TARGET_CLASSES, message.class),
    owner: { subject: message.owner, tier: word(TIERS, message.tier) },
    reason: message.reason,
    atMs: Number(message.atMs),
    stays: message.stays,
  };
}

export function encodeProposal(proposal: Proposal): MessageInitShape<typeof RouteProposalSchema> {
  const { id, change, proposer, atMs, state, decision } = proposal;
  return {
    id,
    change: encodeChange(change),
    proposer: proposer.subject,
    tier: proposer.tier,
    atMs: BigInt(Math.floor(atMs)),
    state,
    decision: decision && { by: decision.by, atMs: BigInt(Math.floor(decision.atMs)), detail: decision.detail },
  };
}

export function decodeProposal(message: RouteProposal): Proposal {
  const { decision } = message;
  return {
    id: message.id,
    change: decodeChange(message.change),
    proposer: { subject: message.proposer, tier: word(TIERS, message.tier) },
    atMs: Number(message.atMs),
    state: word(PROPOSAL_STATES, message.state),
    decision: decision && { by: decision.by, atMs: Number(decision.atMs), detail: decision.detail },
  };
}

export function encodeChange({
  action,
  route,
  class: targetClass,
  reason,
}: RouteChange): MessageInitShape<typeof RouteChangeSchema> {
  return { action, route: encodeSpec(route), class: targetClass, reason };
}

/** MALFORMED for what no kernel would take, or what would forge a line of a log. */
export function decodeChange(message: WireChange | undefined): RouteChange {
  if (message === undefined) throw malformed('no change of a route');
  const { reason } = message;
  if (reason.length < 1 || reason.length > 256 || /\p{C}/u.test(reason)) {
    throw malformed('a reason is 1 to 256 characters in one line');
  }
  return {
    action: word(ROUTE_ACTIONS, message.action),
    route: decodeSpec(message.route),
    class: word(TARGET_CLASSES, message.class),
    reason,
  };
}

function encodeRecord(record: RecordView): MessageInitShape<typeof GovernedRouteSchema> {
  const { id, state, route, class: targetClass, owner, reason, atMs, stays } = record;
  return {
    id,
    state,
    route: encodeSpec(route),
    class: targetClass,
    owner: owner.subject,
    tier: owner.tier,
    reason,
    atMs: BigInt(Math.floor(atMs)),
    stays,
  };
}

function encodeSpec({
  destination,
  link,
  gateway,
  table,
  metric,
}: RouteSpec): MessageInitShape<typeof RouteSpecSchema> {
  return { address: destination.address, length: destination.length, link, gateway, table, metric };
}

function decodeSpec(message: WireSpec | undefined): RouteSpec {
  if (message === undefined) throw malformed('no route');
  const { address, length, link, gateway, table, metric } = message;
  const destination = { address, length };
  const isSound =
    isCanonicalPrefix(destination) &&
    /^[a-zA-Z0-9._-]{1,15}$/.test(link) &&
    table > 0 &&
    (gateway === undefined || gateway.length === address.length);
  if (!isSound) throw malformed('not a route');
  return {
    destination,
    link,
    table,
    ...(gateway === undefined ? {} : { gateway }),
    ...(metric === undefined ? {} : { metric }),
  };
}

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', detail);
}
