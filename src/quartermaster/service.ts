/** The service itself, on whatever carries it: every call is somebody's, parsed, allowed or refused, then the ledger's. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { ArtifactKind } from '../../protocol/evidence/index.ts';
import {
  type FoundSchema,
  type GetPositionRequest,
  type ListProposalsRequest,
  Quartermaster as QuartermasterService,
  type QueryRequest,
  type SubmitProposalRequest,
  type SubmitRequest,
  type WatchRequest,
} from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import {
  formatCursor,
  Lane,
  MAX_PROPOSAL_BYTES,
  parseLogName,
  parseQuestion,
  parseSubmission,
  parseWanted,
  questionKey,
  type Submission,
  type TokenTrust,
  verifyRequestToken,
} from '../../protocol/quartermaster/index.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Caller } from './access.ts';
import type { Ledger } from './ledger.ts';
import { toConnectError } from './refusal.ts';
import type { StoredRecord } from './store-reader.ts';
import { Watches } from './watches.ts';

export interface QuartermasterParts {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Logger;
  /** Undefined: no proposals are taken. */
  readonly tokens?: TokenTrust | undefined;
  /** Throws what refuses a proposal that is otherwise in order, for instance by posture. Its token is not used up then. */
  readonly judge?: (proposer: SpiffeId) => void;
  /** Of a proposal that is durable. Must not throw. */
  readonly onProposal?: (proposal: {
    readonly number: number;
    readonly proposer: SpiffeId;
    readonly content: Uint8Array;
  }) => void;
}

export interface Quartermaster extends AsyncDisposable {
  /** @param callerOf says who asks, and throws for a stranger. */
  routes(callerOf: (context: HandlerContext) => Caller): (router: ConnectRouter) => void;
}

/** Disposing ends the watches; the ledger is its owner's. */
export function createQuartermaster(parts: QuartermasterParts): Quartermaster {
  const { ledger } = parts;
  const watches = new Watches(ledger);
  return {
    routes: (callerOf) => (router) => {
      const serve = <Request, Answer>(handle: (request: Request, caller: Caller) => Promise<Answer>) => {
        return (request: Request, context: HandlerContext) =>
          guarded(parts.log, callerOf, context, (caller) => handle(request, caller));
      };
      const submitOnly = (kinds: ReadonlySet<ArtifactKind>) =>
        serve((request: SubmitRequest, caller) => submit(ledger, request, caller, kinds));
      router.service(QuartermasterService, {
        getPosition: serve((request, caller) => position(ledger, request, caller)),
        submit: serve((request, caller) => submit(ledger, request, caller)),
        submitSessionTransit: submitOnly(TRANSITS),
        submitNetworkMutation: submitOnly(MUTATIONS),
        submitForensicSnapshot: submitOnly(SNAPSHOTS),
        submitTelemetry: serve((requests, caller) => submitAll(ledger, requests, caller)),
        submitProposal: serve((request, caller) => propose(parts, request, caller)),
        listProposals: serve((request, caller) => listProposals(ledger, request, caller)),
        query: serve((request, caller) => query(ledger, request, caller)),
        watch: (request, context) => watch(parts.log, watches, request, callerOf, context),
      });
    },
    async [Symbol.asyncDispose]() {
      watches[Symbol.dispose]();
    },
  };
}

const TRANSITS: ReadonlySet<ArtifactKind> = new Set<ArtifactKind>(['sessionTransit']);
const MUTATIONS: ReadonlySet<ArtifactKind> = new Set<ArtifactKind>(['networkMutation']);
const SNAPSHOTS: ReadonlySet<ArtifactKind> = new Set<ArtifactKind>(['forensicSnapshot', 'snapshotPart']);
const OTHERS: ReadonlySet<ArtifactKind> = new Set<ArtifactKind>([...TRANSITS, ...MUTATIONS, ...SNAPSHOTS]);
const MOST_PROPOSALS = 100;
const MAX_PROPOSALS_BYTES = 1_048_576;

async function position(ledger: Ledger, { origin, lane }: GetPositionRequest, caller: Caller) {
  const log = parseLogName(origin, lane);
  requireOwner(caller, log.origin);
  return { next: BigInt(await ledger.position(log)) };
}

async function submit(ledger: Ledger, request: SubmitRequest, caller: Caller, kinds?: ReadonlySet<ArtifactKind>) {
  // Before the entries are looked at: a stranger's bytes are not worth the work.
  requireOwner(caller, request.origin);
  const submission = parseSubmission(request);
  if (kinds !== undefined) requireKinds(submission, (kind) => kinds.has(kind));
  return { next: BigInt(await ledger.submit(submission)) };
}

/** What is no transit, mutation or snapshot, and what sampling left out. Each message is durable before the next is read. */
async function submitAll(ledger: Ledger, requests: AsyncIterable<SubmitRequest>, caller: Caller) {
  let next = 0n;
  for await (const request of requests) {
    requireOwner(caller, request.origin);
    const submission = parseSubmission(request);
    if (submission.log.lane === Lane.LEFT_OUT) requireKinds(submission, (kind) => TRANSITS.has(kind));
    else requireKinds(submission, (kind) => !OTHERS.has(kind));
    next = BigInt(await ledger.submit(submission));
  }
  return { next };
}

async function propose(parts: QuartermasterParts, { requestToken, proposal }: SubmitProposalRequest, caller: Caller) {
  const { ledger, clock, tokens } = parts;
  const { spiffeId } = caller;
  if (tokens === undefined || spiffeId === undefined || !caller.mayPropose)
    throw new ShellstreamError('CAPABILITY_NOT_GRANTED', 'no proposals are taken from there');
  if (proposal.length === 0 || proposal.length > MAX_PROPOSAL_BYTES)
    throw new ShellstreamError('MALFORMED', `a proposal of ${proposal.length} bytes`);
  const now = clock.now();
  const token = verifyRequestToken(tokens, requestToken, { caller: spiffeId, proposal, now });
  parts.judge?.(spiffeId);
  const number = await ledger.propose({ proposer: spiffeId, receivedMs: now, content: proposal, token });
  parts.onProposal?.({ number, proposer: spiffeId, content: proposal });
  return { number: BigInt(number) };
}

async function listProposals(ledger: Ledger, { after, limit }: ListProposalsRequest, { tier }: Caller) {
  if (tier !== 'master' && tier !== 'site_owner')
    throw new ShellstreamError('CAPABILITY_NOT_GRANTED', 'the tier does not see proposals');
  if (limit > MOST_PROPOSALS) throw new ShellstreamError('MALFORMED', `${limit} proposals at once`);
  const stored = ledger.reader.proposals(Number(after), limit === 0 ? MOST_PROPOSALS : limit);
  let size = 0;
  // gRPC's own clients take 4 MiB unless they are told otherwise; there is always one, so who goes on gets on.
  const page = stored.filter(({ content }, at) => {
    size += content.length;
    return at === 0 || size <= MAX_PROPOSALS_BYTES;
  });
  const proposals = page.map(({ number, proposer, receivedMs, content }) => ({
    number: BigInt(number),
    proposer,
    receivedAtMs: BigInt(receivedMs),
    proposal: content,
  }));
  return { proposals };
}

async function query(ledger: Ledger, request: QueryRequest, { tier }: Caller) {
  const question = parseQuestion(request, tier);
  const { found, next } = ledger.reader.query(question);
  const key = questionKey(question.wanted, question.newestFirst);
  return { found: found.map(toFound), next: next === undefined ? '' : formatCursor(next, key) };
}

async function* watch(
  log: Logger,
  watches: Watches,
  { filter, after }: WatchRequest,
  callerOf: (context: HandlerContext) => Caller,
  context: HandlerContext,
) {
  const begun = await guarded(log, callerOf, context, async ({ name, tier }) => {
    const from = after === undefined ? undefined : Number(after);
    return watches.watch(name, parseWanted(filter, tier), from, context.signal);
  });
  try {
    for await (const record of begun) yield { found: toFound(record) };
  } catch (error) {
    throw toConnectError(error);
  }
}

async function guarded<T>(
  log: Logger,
  callerOf: (context: HandlerContext) => Caller,
  context: HandlerContext,
  handle: (caller: Caller) => Promise<T>,
): Promise<T> {
  let caller: string | undefined;
  try {
    const known = callerOf(context);
    caller = known.name;
    return await handle(known);
  } catch (error) {
    log.warn('a call to Quartermaster was refused', { caller, method: context.method.name, error });
    throw toConnectError(error);
  }
}

function requireOwner(caller: Caller, origin: string): void {
  if (!caller.maySubmit(origin)) throw new ShellstreamError('WRONG_IDENTITY', 'the log of somebody else');
}

function requireKinds({ entries }: Submission, isOne: (kind: ArtifactKind) => boolean): void {
  for (const entry of entries) {
    if (entry.what === 'record' && !isOne(entry.facts.kind))
      throw new ShellstreamError('MALFORMED', `${entry.facts.kind} has a call of its own`);
  }
}

function toFound({ number, log, sequence, opening }: StoredRecord): MessageInitShape<typeof FoundSchema> {
  return {
    number: BigInt(number),
    origin: log.origin,
    lane: log.lane,
    sequence: BigInt(sequence),
    record: { artifact: opening.record, salt: opening.salt },
  };
}
