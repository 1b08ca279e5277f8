/**
 * What was revoked, as this gateway has it: statements of the configured issuers, checked, kept on disk, in effect at once
 * and passed on. What is taken holds before it is durable, and is answered for when it is both.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Ed25519 } from '../../protocol/evidence/ed25519.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import {
  HEARTBEAT_CONTEXT,
  type Heartbeat,
  hasEffect,
  heartbeatRefusal,
  IssuerFeed,
  isSignedBy,
  parseHeartbeat,
  parseStatement,
  type RevocationRefusal,
  type RevocationSubject,
  RevokedIndex,
  refusalOf,
  type SignedDocument,
  STATEMENT_CONTEXT,
  type Staleness,
  type Statement,
} from '../../protocol/revocation/index.ts';
import { type Clock, inTime } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { RevocationReader } from '../enforcer/ports.ts';
import { PATIENCE_MS, RecordKeeper } from './revocation-keeper.ts';
import { RECORD_LIMITS, RecordRoom } from './revocation-room.ts';
import type { KeptRevocations, OpenedRevocations } from './revocation-store.ts';

export interface IssuerKeys {
  readonly issuer: SpiffeId;
  /** Ed25519, 32 bytes: signs statements, and heartbeats too. */
  readonly publicKey: Uint8Array;
  /** Signs heartbeats only: it may lie where a machine reads it, while the other is locked away. */
  readonly heartbeatKey?: Uint8Array | undefined;
}

export interface RevocationsParts {
  /** Several entries of one issuer: keys that change. */
  readonly keys: readonly IssuerKeys[];
  /** Trust domain whose issuers say whom this site does not take any more. */
  readonly localSite: string;
  /** How old the last heartbeat may be. */
  readonly staleMs: number;
  readonly opened: OpenedRevocations;
  readonly ed25519: Ed25519;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface IssuerState {
  readonly issuer: SpiffeId;
  readonly last: number;
  readonly heartbeatMs?: number;
  readonly stale?: Staleness;
}

/** @param signed the document that says so */
type Effect = (statement: Statement, signed: Uint8Array) => Promise<void>;

export class Revocations implements RevocationReader {
  readonly #parts: RevocationsParts;
  readonly #feeds = new Map<SpiffeId, IssuerFeed>();
  readonly #index: RevokedIndex;
  readonly #keeper: RecordKeeper;
  readonly #room: RecordRoom;
  /** In the order they came. */
  readonly #taken: SignedDocument<Statement>[] = [];
  /** Of issuers that are not configured any more: kept, not in effect. */
  #dormant: readonly SignedDocument<Statement>[] = [];
  readonly #news = new Listeners<void>();
  readonly #effects = new Set<Effect>();
  /** Statements whose effects hang. */
  #unfinished = 0;

  constructor(parts: RevocationsParts) {
    this.#parts = parts;
    this.#keeper = new RecordKeeper(parts.opened, () => this.#kept(), parts.clock);
    this.#index = new RevokedIndex(parts.localSite);
    for (const { issuer } of parts.keys) this.#feeds.set(issuer, new IssuerFeed());
    const { limits = RECORD_LIMITS } = parts.opened;
    if (this.#feeds.size > limits.issuers) {
      throw new ShellstreamError('INTERNAL', `more than ${limits.issuers} issuers of revocations`);
    }
    this.#room = new RecordRoom(limits);
    this.#restore(parts.opened.kept);
  }

  /**
   * Why newcomers cannot be judged: a feed is not known to be whole and recent, the record could not be read or written, or
   * what was revoked goes on.
   */
  get stale(): string | undefined {
    const { problem } = this.#keeper;
    if (problem !== undefined) return `the record of revocations: ${problem}`;
    if (this.#unfinished > 0) return `what ${this.#unfinished} revocations take away has not ended`;
    const [found] = this.issuers.filter(({ stale }) => stale !== undefined);
    return found === undefined ? undefined : `the feed of ${found.issuer} is ${found.stale}`;
  }

  get issuers(): readonly IssuerState[] {
    const now = this.#parts.clock.now();
    return [...this.#feeds].map(([issuer, feed]) => {
      const stale = feed.staleness(now, this.#parts.staleMs);
      const heartbeatMs = feed.heartbeat?.content.timeMs;
      return {
        issuer,
        last: feed.last,
        ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
        ...(stale === undefined ? {} : { stale }),
      };
    });
  }

  /** Signed statements in the order they came. */
  get documents(): readonly Uint8Array[] {
    return this.#taken.map(({ bytes }) => bytes);
  }

  /** Of somebody who wants something taken away here: as `offer`, but FOREIGN_DOMAIN for what would be of no effect. */
  async order(bytes: Uint8Array): ReturnType<Revocations['offer']> {
    const { content } = parseStatement(bytes);
    if (!hasEffect(content, this.#parts.localSite)) throw refused('FOREIGN_DOMAIN', content);
    return await this.offer(bytes);
  }

  find(subject: RevocationSubject): Statement | undefined {
    return this.#index.find(subject);
  }

  /**
   * Takes a signed statement; resolves when it is durable and in effect everywhere here. `known`: it was already. It is in
   * effect for newcomers, and `positions` is past it, when this returns; the promise settles in bounded time.
   * @throws ShellstreamError MALFORMED; REVOCATION_REFUSED with a `RevocationRefusal` in `fields.refusal`
   */
  async offer(bytes: Uint8Array): Promise<{ readonly kind: 'taken' | 'known'; readonly statement: Statement }> {
    // A copy: what is parsed are views into whatever message brought it.
    const document = parseStatement(Uint8Array.from(bytes));
    const statement = document.content;
    const feed = this.#authentic(document, statement.issuer, STATEMENT_CONTEXT);
    const refusal = refusalOf(statement, this.#parts.clock.now());
    if (refusal !== undefined) throw refused(refusal, statement);
    const succession = feed.succession(document);
    switch (succession.kind) {
      case 'gap':
        throw refused('GAP', statement, { next: succession.next });
      case 'fork':
        this.#parts.log.error('an issuer of revocations says two things under one number', {
          issuer: statement.issuer,
          number: statement.number,
        });
        await this.#keeper.save();
        throw refused('FORK', statement);
      case 'known':
        if (this.#keeper.problem !== undefined) await this.#keeper.save();
        return { kind: 'known', statement };
      case 'next':
        // More than a site revokes in years. Of this issuer alone: the others have room of their own.
        if (!this.#room.has(document)) throw refused('FULL', statement);
    }
    this.#take(feed, document);
    this.#parts.log.warn('revoked', { ...statement, hasEffect: hasEffect(statement, this.#parts.localSite) });
    this.#news.tell();
    await Promise.all([this.#keeper.save(), this.#carryOut(document)]);
    return { kind: 'taken', statement };
  }

  /** A signed heartbeat; whether it was news. Throws as `offer`. */
  hear(bytes: Uint8Array): boolean {
    const document = parseHeartbeat(Uint8Array.from(bytes));
    const heartbeat = document.content;
    const feed = this.#authentic(document, heartbeat.issuer, HEARTBEAT_CONTEXT);
    const refusal = heartbeatRefusal(heartbeat, this.#parts.clock.now());
    if (refusal !== undefined) throw refused(refusal, heartbeat);
    const isNews = feed.hear(document);
    if (isNews) this.#news.tell();
    return isNews;
  }

  /** What is to be asked for next. */
  positions(): readonly { readonly issuer: SpiffeId; readonly next: number }[] {
    return [...this.#feeds].map(([issuer, feed]) => ({ issuer, next: feed.last + 1 }));
  }

  /** Signed statements of an issuer from a number on, oldest first. */
  from(issuer: string, number: number, most: number): readonly Uint8Array[] {
    return (
      this.#feedOf(issuer)
        ?.from(number, most)
        .map(({ bytes }) => bytes) ?? []
    );
  }

  heartbeatOf(issuer: string): SignedDocument<Heartbeat> | undefined {
    return this.#feedOf(issuer)?.heartbeat;
  }

  /** There is a statement or heartbeat more than before. */
  onNews(listener: () => void): Disposable {
    return this.#news.add(listener);
  }

  /** What a statement takes away; `offer` waits for it. */
  onTaken(effect: Effect): Disposable {
    this.#effects.add(effect);
    return { [Symbol.dispose]: () => void this.#effects.delete(effect) };
  }

  #take(feed: IssuerFeed, document: SignedDocument<Statement>): void {
    feed.append(document);
    this.#room.add(document);
    this.#taken.push(document);
    this.#index.add(document.content);
  }

  #feedOf(issuer: string): IssuerFeed | undefined {
    for (const [known, feed] of this.#feeds) if (known === issuer) return feed;
    return undefined;
  }

  #authentic(document: SignedDocument<Statement | Heartbeat>, issuer: SpiffeId, context: Uint8Array): IssuerFeed {
    const feed = this.#feeds.get(issuer);
    if (feed === undefined) throw refused('UNKNOWN_ISSUER', document.content);
    const keys = this.#parts.keys
      .filter((entry) => entry.issuer === issuer)
      .flatMap(({ publicKey, heartbeatKey }) =>
        heartbeatKey === undefined || context !== HEARTBEAT_CONTEXT ? [publicKey] : [heartbeatKey, publicKey],
      );
    if (!keys.some((key) => isSignedBy(this.#parts.ed25519, key, context, document))) {
      throw refused('BAD_SIGNATURE', document.content);
    }
    return feed;
  }

  async #carryOut({ content, bytes }: SignedDocument<Statement>): Promise<void> {
    const done = Promise.all([...this.#effects].map((effect) => effect(content, bytes)));
    await inTime(this.#parts.clock, done, PATIENCE_MS, () => {
      this.#unfinished += 1;
      const finished = (): void => {
        this.#unfinished -= 1;
      };
      done.then(finished, finished);
      return new ShellstreamError('INTERNAL', 'a revocation is in effect, but what stands on it has not ended');
    });
  }

  #kept(): KeptRevocations {
    const contradictions = [...this.#feeds.values()].flatMap(({ contradiction }) => contradiction ?? []);
    return { statements: [...this.#dormant, ...this.#taken], contradictions };
  }

  #restore({ statements, contradictions }: KeptRevocations): void {
    const dormant: SignedDocument<Statement>[] = [];
    for (const document of statements) {
      const feed = this.#feeds.get(document.content.issuer);
      if (feed === undefined) dormant.push(document);
      else if (feed.succession(document).kind !== 'next') this.#keeper.lacks('numbers are missing');
      else this.#take(feed, document);
    }
    this.#dormant = this.#room.carried(dormant);
    const left = dormant.length - this.#dormant.length;
    if (left > 0) this.#parts.log.warn('revocations of issuers that are not configured have no room', { left });
    for (const document of contradictions) this.#feeds.get(document.content.issuer)?.contradicted(document);
  }
}

function refused(
  refusal: RevocationRefusal,
  { issuer, number }: Pick<Statement, 'issuer' | 'number'>,
  more: Record<string, unknown> = {},
): ShellstreamError {
  const detail = `${refusal}: number ${number} of ${issuer}`;
  return new ShellstreamError('REVOCATION_REFUSED', detail, { fields: { refusal, issuer, number, ...more } });
}
