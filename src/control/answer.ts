/** One request in, one answer out. No posture is consulted: the console works at every level (REQUIREMENTS S7). */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { SESSION_TYPES } from '../../protocol/capability/model.ts';
import { assertNever, reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import {
  type Request,
  RequestSchema,
  type Response,
  ResponseSchema,
  type SessionsRequest,
  type SetPostureRequest,
} from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import { parseExact } from '../../protocol/wire/parse.ts';
import type { Standing } from './access.ts';
import { proposalId, proposalsPage, requestToken, routesPage, tokenTerms } from './answer-routes.ts';
import { LOG_ACTS } from './evidence-desk.ts';
import { LARGEST_REQUEST } from './frame.ts';
import { type Actor, type ConsoleStatement, type GatewayView, SESSION_STATES, type SessionFilter } from './ports.ts';
import { decodeLevel } from './wire/decode.ts';
import { encodeDetail, encodeFinding, encodePeer, encodePosture, encodeSession, encodeStatus } from './wire/encode.ts';
import { decodeQuery, encodeProven, encodeRecords, encodeTended, index, tierOf } from './wire/evidence.ts';
import { encodePreview } from './wire/preview.ts';
import { revocationsPage } from './wire/revocations.ts';
import { decodeChange } from './wire/routes.ts';
import { word } from './wire/words.ts';

export type Ask = Exclude<Request['ask'], { case: undefined }>;

/**
 * A request that holds exactly one known ask. A field of another version is MALFORMED: a condition that we would
 * overlook ("end it only if …") must not turn into an unconditional order.
 */
export function parseRequest(bytes: Uint8Array): Ask {
  const { ask } = parseExact(RequestSchema, bytes, LARGEST_REQUEST);
  if (ask.case === undefined) throw malformed('nothing was asked');
  return ask;
}

/** Answers everything but `watch`, which is the connection's own affair. */
export async function answer(ask: Ask, view: GatewayView, by: Actor, standing: Standing): Promise<Response> {
  switch (ask.case) {
    case 'status':
      return respond({ case: 'status', value: encodeStatus(await view.status()) });
    case 'sessions':
      return respond({ case: 'sessions', value: await page(ask.value, view) });
    case 'session': {
      const session = await view.session(identifier(ask.value.id));
      return respond({ case: 'session', value: session === undefined ? {} : { session: encodeDetail(session) } });
    }
    case 'drain': {
      requireOwner(standing, 'draining a session');
      const { id, deadlineMs } = ask.value;
      if (deadlineMs > LONGEST_DRAIN_MS) throw malformed(`a drain takes at most ${LONGEST_DRAIN_MS} ms`);
      return respond({ case: 'done', value: { known: await view.drain(identifier(id), deadlineMs, by) } });
    }
    case 'end': {
      requireOwner(standing, 'ending a session');
      const { id, reason } = ask.value;
      return respond({ case: 'done', value: { known: await view.end(identifier(id), words(reason, 0), by) } });
    }
    case 'posture':
      return respond({ case: 'posture', value: encodePosture(await view.posture()) });
    case 'setPosture': {
      requireOwner(standing, 'setting the posture');
      const posture = await view.setPosture(statement(ask.value), by);
      return respond({ case: 'posture', value: encodePosture(posture) });
    }
    case 'confirmPosture': {
      requireOwner(standing, 'setting the posture');
      const { epoch } = ask.value;
      // Whatever waits may be what another console said: who confirms has to have seen it.
      if (epoch === undefined) throw malformed('a confirmation names the epoch of what it confirms');
      return respond({ case: 'posture', value: encodePosture(await view.confirmPosture(epoch, by)) });
    }
    case 'previewPosture': {
      const preview = await view.previewPosture(decodeLevel(ask.value.level));
      return respond({ case: 'posturePreview', value: encodePreview(preview) });
    }
    case 'setAside': {
      requireOwner(standing, 'setting a source aside');
      const { source, reason, epoch } = ask.value;
      const posture = await view.setAside(sourceName(source), words(reason, 1), by, epoch);
      return respond({ case: 'posture', value: encodePosture(posture) });
    }
    case 'hold': {
      requireOwner(standing, 'holding a peer');
      await view.holdPeer(peerName(ask.value.peer), words(ask.value.reason, 1), by);
      return respond({ case: 'done', value: { known: true } });
    }
    case 'release': {
      requireOwner(standing, 'releasing a peer');
      const known = await view.releasePeer(peerName(ask.value.peer), words(ask.value.reason, 1), by);
      return respond({ case: 'done', value: { known } });
    }
    case 'deliverRelease':
      await view.deliverRelease(ask.value.document, by);
      return respond({ case: 'done', value: { known: true } });
    case 'routes':
      return respond({ case: 'routes', value: await routesPage(ask.value, view.underlay) });
    case 'proposals':
      return respond({ case: 'proposals', value: await proposalsPage(ask.value, view.underlay) });
    case 'changeRoute':
      requireOwner(standing, 'changing a route');
      await view.underlay.change(decodeChange(ask.value.change), by);
      return respond({ case: 'done', value: { known: true } });
    case 'routeToken':
      requireOwner(standing, 'issuing a request token');
      return respond({
        case: 'routeToken',
        value: { token: await view.underlay.issueToken(tokenTerms(ask.value), by) },
      });
    case 'proposeRoute': {
      // Whoever holds a token may: it says who proposes.
      const { token, change } = ask.value;
      const id = await view.underlay.propose(requestToken(token), decodeChange(change), by);
      return respond({ case: 'proposed', value: { id } });
    }
    case 'decideProposal': {
      requireOwner(standing, 'deciding on a proposal');
      const { id, approve, reason } = ask.value;
      if (approve) await view.underlay.approve(proposalId(id), by);
      else await view.underlay.reject(proposalId(id), words(reason, 1), by);
      return respond({ case: 'done', value: { known: true } });
    }
    case 'revocations':
      return respond({ case: 'revocations', value: revocationsPage(ask.value, view.revocations) });
    case 'revoke':
      requireOwner(standing, 'revoking');
      return respond({ case: 'done', value: { known: !(await view.revocations.offer(ask.value.statement, by)) } });
    case 'peers':
      return respond({ case: 'peers', value: { peers: (await view.peers()).map(encodePeer) } });
    case 'diagnose':
      return respond({ case: 'diagnosis', value: { findings: (await view.diagnose()).map(encodeFinding) } });
    case 'listRecords':
      return respond({
        case: 'records',
        value: encodeRecords(await view.evidence.list(decodeQuery(ask.value), tierOf(standing))),
      });
    case 'showRecord': {
      const found = await view.evidence.show(index(ask.value.index), tierOf(standing));
      return respond({ case: 'record', value: encodeProven(found) });
    }
    case 'tendLog':
      requireOwner(standing, 'tending the log');
      return respond({
        case: 'logTended',
        value: encodeTended(await view.evidence.tend(word(LOG_ACTS, ask.value.act))),
      });
    case 'watch':
      return respond({ case: 'watching', value: {} });
    default:
      return assertNever(ask);
  }
}

export function respond(value: NonNullable<MessageInitShape<typeof ResponseSchema>['answer']>): Response {
  return create(ResponseSchema, { answer: value });
}

/** The console is inside the site: it is told the reason itself, not the coarser one of the wire. */
export function refusal(error: unknown): Response {
  const detail = error instanceof ShellstreamError ? error.message : REASONS.INTERNAL.text;
  return refused(reasonOf(error), detail);
}

export function refused(reason: Reason, detail: string): Response {
  return respond({ case: 'refused', value: { reason: REASONS[reason].code, detail: detail.slice(0, 4096) } });
}

async function page(ask: SessionsRequest, view: GatewayView) {
  const filter: SessionFilter = {
    peer: ask.peer,
    type: ask.type === undefined ? undefined : word(SESSION_TYPES, ask.type),
    state: ask.state === undefined ? undefined : word(SESSION_STATES, ask.state),
  };
  const rest = (await view.sessions(filter)).filter(({ id }) => id > ask.after);
  const sessions = rest.slice(0, PAGE);
  return { sessions: sessions.map(encodeSession), next: rest.length > PAGE ? (sessions.at(-1)?.id ?? '') : '' };
}

function statement(ask: SetPostureRequest): ConsoleStatement {
  const forMs = ask.forMs === undefined ? undefined : Number(ask.forMs);
  if (forMs !== undefined && (forMs < 1 || forMs > LONGEST_STATEMENT_MS)) {
    throw malformed(`a posture is set for 1 to ${LONGEST_STATEMENT_MS} ms, or until it is set again`);
  }
  const confirmWithinMs = ask.confirmWithinMs === undefined ? undefined : Number(ask.confirmWithinMs);
  if (confirmWithinMs !== undefined && (confirmWithinMs < 1 || confirmWithinMs > LONGEST_CONFIRMATION_MS)) {
    throw malformed(`a posture is confirmed within 1 to ${LONGEST_CONFIRMATION_MS} ms`);
  }
  return { level: decodeLevel(ask.level), reason: words(ask.reason, 1), forMs, confirmWithinMs };
}

function requireOwner(standing: Standing, what: string): void {
  if (standing !== 'owner') throw new ShellstreamError('CAPABILITY_NOT_GRANTED', `${what} needs ADMIN`);
}

function identifier(id: string): string {
  if (!/^[\x21-\x7e]{1,128}$/.test(id)) throw malformed('a session identifier is 1 to 128 printable characters');
  return id;
}

function sourceName(source: string): string {
  if (!/^[a-z0-9-]{1,64}$/.test(source)) throw malformed('a source is 1 to 64 of a-z, 0-9 and dash');
  return source;
}

function peerName(name: string): string {
  if (!/^[a-z0-9-]{1,63}$/.test(name)) throw malformed('the name of a peer is 1 to 63 of a-z, 0-9 and dash');
  return name;
}

// The words go to logs and to other consoles' terminals: a line break or an escape sequence would forge their lines.
function words(text: string, least: number): string {
  if (text.trim().length < least || text.length > 256 || /\p{C}/u.test(text)) {
    throw malformed(`a reason is ${least} to 256 characters in one line`);
  }
  return text;
}

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', detail);
}

// With a SPIFFE ID of at most 2,048 bytes a session takes at most 2.5 KB: a page fits in an answer.
const PAGE = 400;
const LONGEST_DRAIN_MS = 3_600_000;
const LONGEST_STATEMENT_MS = 366 * 86_400_000;
const LONGEST_CONFIRMATION_MS = 86_400_000;
