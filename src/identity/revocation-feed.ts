/**
 * The feed of revocations between gateways (protocol/README.md, "Revocation"). Whoever passes statements on can leave out or
 * delay, but not forge: each is signed by its issuer, and heartbeats tell when one is missing.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import { RevocationFeed, type WatchRequest } from '../../protocol/gen/shellstream/revocation/v1/revocation_pb.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { MAX_SIGNED_BYTES } from '../../protocol/revocation/index.ts';
import { sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { RECORD_LIMITS } from './revocation-room.ts';
import type { Revocations } from './revocations.ts';
import { grpcOver, serveSpiffeGrpc } from './spiffe-grpc.ts';
import { type Accepts, connectSpiffeTls, type SpiffeTlsListener, type SpiffeTlsParts } from './spiffe-tls.ts';

export interface FeedServiceParts {
  readonly tls: SpiffeTlsParts;
  readonly revocations: Revocations;
  /** 0: the kernel chooses. */
  readonly address: { readonly host: string; readonly port: number };
  readonly accepts: Accepts;
  readonly log: Logger;
}

/** Serves what this gateway has to others; until disposed. */
export function serveRevocationFeed(parts: FeedServiceParts): Promise<SpiffeTlsListener> {
  const { tls, revocations, address, accepts, log } = parts;
  return serveSpiffeGrpc(tls, {
    ...address,
    accepts,
    maxConnections: MAX_WATCHERS,
    maxMessageBytes: MAX_MESSAGE_BYTES,
    onRefused: (error) => log.warn('somebody was not let to the feed of revocations', { error }),
    routes: (router) =>
      router.service(RevocationFeed, { watch: (request, { signal }) => watched(revocations, request, signal) }),
  });
}

/** Nothing is queued for who reads slowly: each turn looks at what there is by then. */
async function* watched(revocations: Revocations, { positions }: WatchRequest, signal: AbortSignal) {
  if (positions.length > MAX_ISSUERS) throw new ConnectError('too many issuers', Code.InvalidArgument);
  const next = new Map(positions.map(({ issuer, next: from }) => [issuer, Math.max(1, Number(from))]));
  const told = new Map<string, number>();
  using news = new News(revocations, signal);
  while (!signal.aborted) {
    news.seen();
    for (const [issuer, from] of next) {
      let at = from;
      for (const value of statements(revocations, issuer, from)) {
        yield { news: { case: 'statement' as const, value } };
        at += 1;
      }
      next.set(issuer, at);
      const heartbeat = revocations.heartbeatOf(issuer);
      if (heartbeat === undefined || told.get(issuer) === heartbeat.content.timeMs) continue;
      told.set(issuer, heartbeat.content.timeMs);
      yield { news: { case: 'heartbeat' as const, value: heartbeat.bytes } };
    }
    await news.next();
  }
}

function* statements(revocations: Revocations, issuer: string, from: number): Generator<Uint8Array> {
  for (let at = from; ; at += PAGE) {
    const page = revocations.from(issuer, at, PAGE);
    yield* page;
    if (page.length < PAGE) return;
  }
}

/** Whether something came since it was looked at last. */
class News implements Disposable {
  readonly #subscription: Disposable;
  readonly #signal: AbortSignal;
  #isThere = false;
  #wake: () => void = () => undefined;

  constructor(revocations: Revocations, signal: AbortSignal) {
    this.#signal = signal;
    this.#subscription = revocations.onNews(() => this.#come());
    signal.addEventListener('abort', () => this.#come(), { once: true });
  }

  seen(): void {
    this.#isThere = false;
  }

  async next(): Promise<void> {
    if (this.#isThere || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  #come(): void {
    this.#isThere = true;
    this.#wake();
  }
}

export interface FeedClientParts {
  readonly tls: SpiffeTlsParts;
  readonly revocations: Revocations;
  readonly address: { readonly host: string; readonly port: number };
  /** Who serves it: nobody else is asked. */
  readonly spiffeId: SpiffeId;
  readonly log: Logger;
  /** Uniform in [0, 1): spreads reconnections. */
  readonly random: () => number;
}

/** Follows one feed for as long as it is not disposed. */
export class RevocationFeedClient implements AsyncDisposable {
  readonly #parts: FeedClientParts;
  readonly #stopped = new AbortController();
  readonly #following: Promise<void>;
  /** Statements that are in effect, while disk and effects are waited for: of every connection so far. */
  readonly #pending = new Set<Promise<unknown>>();
  #ended: Promise<void> | undefined;
  #problem: string | undefined = 'not connected yet';

  constructor(parts: FeedClientParts) {
    this.#parts = parts;
    this.#following = this.#follow();
  }

  /** The last thing that went wrong; undefined while it is followed. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** What is not durable by then is asked for again by the next run. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    this.#stopped.abort();
    await this.#following;
    const settled = new AbortController();
    const done = Promise.allSettled(this.#pending).then(() => settled.abort());
    await Promise.race([done, sleep(this.#parts.tls.clock, LAST_WAIT_MS, settled.signal)]);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopped;
    const { tls, log, random, spiffeId } = this.#parts;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#watch(() => {
          failures = 0;
        });
        this.#problem = 'the feed ended';
      } catch (error) {
        if (signal.aborted) return;
        this.#problem = error instanceof Error ? error.message : String(error);
        if (failures === 0) log.warn('a feed of revocations is not heard', { feed: spiffeId, error });
      }
      const whole = Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, 16), LONGEST_DELAY_MS);
      await sleep(tls.clock, whole * (0.5 + random() / 2), signal);
      failures += 1;
    }
  }

  /** Ends with the connection, and at a gap, after which the feed is asked again from what is missing. */
  async #watch(opened: () => void): Promise<void> {
    const { tls, address, spiffeId, revocations } = this.#parts;
    const { signal } = this.#stopped;
    const connection = await connectSpiffeTls(tls, address, (peer) => peer === spiffeId, signal);
    const hearing = new Hearing(this.#parts);
    try {
      const client = createClient(RevocationFeed, grpcOver(connection, { maxMessageBytes: MAX_MESSAGE_BYTES }));
      const positions = revocations.positions().map(({ issuer, next }) => ({ issuer, next: BigInt(next) }));
      this.#problem = undefined;
      for await (const { news } of client.watch({ positions }, { signal })) {
        opened();
        // Effect and disk are not waited for: the statement behind this one may be the more urgent.
        if (news.case === 'statement') {
          const taken: Promise<unknown> = revocations
            .offer(news.value)
            .catch((error: unknown) => hearing.failed(error))
            .finally(() => this.#pending.delete(taken));
          this.#pending.add(taken);
          if (this.#pending.size >= MAX_PENDING) await firstOf(this.#pending, signal);
        } else if (news.case === 'heartbeat') revocations.hear(news.value);
        hearing.check();
      }
    } finally {
      // What is pending is not waited for: it has its number already, and whoever dials asks from the next one on.
      connection.socket.destroy();
    }
  }
}

/** What went wrong with statements of one connection, and whether it is the feed's fault. */
class Hearing {
  readonly #parts: FeedClientParts;
  readonly #full = new Set<unknown>();
  #isUnfinishedSaid = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(parts: FeedClientParts) {
    this.#parts = parts;
  }

  failed(error: unknown): void {
    const { log, spiffeId: feed } = this.#parts;
    const { reason, fields } = error instanceof ShellstreamError ? error : { reason: undefined, fields: undefined };
    if (reason !== 'REVOCATION_REFUSED' && reason !== 'MALFORMED') {
      // It is in effect. Another connection would not help the disk; `Revocations.stale` says it until it is mended.
      if (!this.#isUnfinishedSaid) log.error('a revocation is in effect, but not all is done for it', { feed, error });
      this.#isUnfinishedSaid = true;
      return;
    }
    // An issuer without room is behind, and stays so. Others are heard all the same, who may come after it on this feed.
    if (fields?.refusal === 'FULL') {
      this.#full.add(fields.issuer);
      log.warn('an issuer says more than there is room for', { feed, error });
    } else if (fields?.refusal !== 'GAP' || !this.#full.has(fields.issuer)) this.#failure ??= { error };
  }

  /** @throws what makes this connection useless */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** Until one is done, which each is in bounded time, or somebody stops. */
async function firstOf(pending: Iterable<Promise<unknown>>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<unknown>();
  signal.addEventListener('abort', resolve, { once: true });
  await Promise.race([promise, ...pending]);
  signal.removeEventListener('abort', resolve);
}

const MAX_WATCHERS = 256;
const MAX_ISSUERS = RECORD_LIMITS.issuers;
const PAGE = 256;
const MAX_PENDING = 256;
const MAX_MESSAGE_BYTES = 2 * MAX_SIGNED_BYTES + MAX_ISSUERS * 4_096;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
const LAST_WAIT_MS = 2_000;
