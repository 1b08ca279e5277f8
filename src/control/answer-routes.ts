/** Answers of the console about governed routes. Who may is the caller's to see to; what is asked is bounded here. */
import { TIERS } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import type {
  ProposalsRequest,
  RoutesRequest,
  RouteTokenRequest,
} from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { RouteDesk, TokenTerms } from './route-desk.ts';
import { encodeProposal, encodeRoutes } from './wire/routes.ts';
import { word } from './wire/words.ts';

export async function routesPage({ after }: RoutesRequest, desk: RouteDesk) {
  const view = await desk.list();
  const rest = view.routes.filter(({ id }) => id > after).toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const page = rest.slice(0, PAGE);
  return encodeRoutes(view, page, rest.length > PAGE ? (page.at(-1)?.id ?? '') : '');
}

export async function proposalsPage({ skip }: ProposalsRequest, desk: RouteDesk) {
  const rest = (await desk.proposals()).slice(skip);
  return { proposals: rest.slice(0, PAGE).map(encodeProposal), more: rest.length > PAGE };
}

export function tokenTerms({ subject, tier, validMs }: RouteTokenRequest): TokenTerms {
  if (subject !== undefined && parseSpiffeId(subject) === undefined) throw malformed('a token is for a SPIFFE ID');
  return { subject, tier: word(TIERS, tier), validMs: Number(validMs) };
}

export function requestToken(token: string): string {
  if (!/^[0-9a-f]{64}$/.test(token)) throw new ShellstreamError('REQUEST_TOKEN_INVALID', 'a token is 64 hex digits');
  return token;
}

export function proposalId(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw malformed('a proposal is named by 32 hex digits');
  return id;
}

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', detail);
}

// Owner, decider and their words take at most 6 KB: a page fits in an answer.
const PAGE = 100;
