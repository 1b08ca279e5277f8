/**
 * A terminator in another process as the enforcer has it, and the enforcer as it serves that terminator's questions.
 * Whatever the other end is or has become, it can ask what `Enforcer` lets it ask, and name its own sessions.
 */
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import type { SessionEnd as WireSessionEnd } from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import { encodeEvidence, encodeOffer } from '../../../protocol/handshake/index.ts';
import type { PostureLevel } from '../../../protocol/posture/level.ts';
import type { Reason } from '../../../protocol/reasons.ts';
import type { Clock } from '../../base/clock.ts';
import { Listeners } from '../../base/listeners.ts';
import type { Link } from '../../link/index.ts';
import type { Claim, Enforcer, SessionId } from '../ports.ts';
import {
  type DialOrder,
  MAX_STREAMS_TOLD,
  type StreamState,
  type Terminator,
  type TerminatorEvent,
  type TerminatorLoad,
} from '../terminator-port.ts';
import { Conversation, type Dialect } from './conversation.ts';
import {
  acceptFrom,
  admissionTo,
  admitFrom,
  approachFrom,
  carriedFrom,
  challengeFrom,
  claimsFrom,
  drainReceivedFrom,
  level,
  MAX_PACKETS_BUFFERED,
  outcomeFrom,
  packetFrom,
  port,
  reason,
  requestTo,
  sessionId,
  streamFrom,
} from './convert.ts';
import {
  decodeToEnforcer,
  encodeToTerminator,
  failed,
  failure,
  reasonCode,
  type ToEnforcerBody,
  type ToTerminatorInit,
} from './messages.ts';
import type { StartOrder } from './remote-enforcer.ts';
import { type SessionEnd, sessionEndsFrom } from './session-end.ts';

export interface RemoteTerminatorParts {
  readonly link: Link;
  readonly clock: Clock;
  readonly enforcer: Enforcer;
  readonly start: StartOrder;
  /** Answers which of them stand, for a terminator that outlived an enforcer; absent: none does. */
  readonly resume?: (claims: readonly Claim[]) => readonly SessionId[];
  /** Its process or its connection is gone; what it held is the caller's to release. */
  readonly onLost: (reason: Reason, detail: string | undefined) => void;
}

/** Orders that only read or that end something; a terminator that needs longer has lost its way. */
const ORDER_MS = 5_000;
/** The control window of level 1: after it no last word passes any more, and the routes wait for none. */
const JUDGE_MS = 500;
/** A dial has the handshake's own limits; this is for a terminator that does not keep them. */
const DIAL_MS = 90_000;
/** What a terminator may make us hold and work on at once. */
const MAX_QUESTIONS = 1_024;
/** Over the deadline of a drain. */
const DRAIN_GRACE_MS = 2_000;

export class RemoteTerminator implements Terminator {
  readonly #link: Link;
  readonly #conversation: Conversation<ToTerminatorInit, ToEnforcerBody>;
  readonly #enforcer: Enforcer;
  readonly #resume: RemoteTerminatorParts['resume'];
  readonly #events = new Listeners<TerminatorEvent>();
  readonly #listening = Promise.withResolvers<number>();

  constructor({ link, clock, enforcer, start, resume, onLost }: RemoteTerminatorParts) {
    this.#link = link;
    this.#enforcer = enforcer;
    this.#resume = resume;
    this.#listening.promise.catch(() => undefined);
    this.#conversation = new Conversation({
      link,
      clock,
      dialect: DIALECT,
      mostAsked: MAX_QUESTIONS,
      answer: (question) => this.#answer(question),
      hear: (news) => this.#hear(news),
      onClose: (why, detail) => {
        this.#listening.reject(new ShellstreamError('CONNECTION_LOST', detail ?? 'the terminator went away'));
        onLost(why, detail);
      },
    });
    const { listen, limits, accord, posture, graceMs = 0 } = start;
    this.#conversation.tell({ case: 'start', value: { ...listen, limits, accord, ...posture, graceMs } });
  }

  /** The port it listens on; rejects when it goes before. */
  get listening(): Promise<number> {
    return this.#listening.promise;
  }

  setPosture(to: PostureLevel, epoch: bigint): void {
    this.#conversation.tell({ case: 'setPosture', value: { level: to, epoch } });
  }

  async judgeSessions(): Promise<void> {
    await this.#conversation.ask({ case: 'judgeSessions', value: {} }, { timeoutMs: JUDGE_MS });
  }

  identityRotated(): void {
    this.#conversation.tell({ case: 'identityRotated', value: {} });
  }

  drain(session: SessionId, why: Reason, deadlineMs: number): void {
    this.#conversation.tell({ case: 'drain', value: { session, reason: reasonCode(why), deadlineMs } });
  }

  async end(session: SessionId, why: Reason): Promise<void> {
    const value = { session, reason: reasonCode(why) };
    await this.#conversation.ask({ case: 'end', value }, { timeoutMs: ORDER_MS });
  }

  async drainAll(why: Reason, deadlineMs: number): Promise<void> {
    const value = { reason: reasonCode(why), deadlineMs };
    await this.#conversation.ask({ case: 'drainAll', value }, { timeoutMs: deadlineMs + DRAIN_GRACE_MS });
  }

  async dial({ approach, address, port: to }: DialOrder, signal: AbortSignal): Promise<SessionId> {
    if (signal.aborted) throw new ShellstreamError('CLOSED', 'nobody wants it any more');
    const { offer, expectedId, request } = approach;
    const value = { offer: encodeOffer(offer), expectedId, request: requestTo(request), address, port: to };
    let cancel = (): void => undefined;
    try {
      const answer = await this.#conversation.ask(
        { case: 'dial', value },
        {
          timeoutMs: DIAL_MS,
          onSent: (order) => {
            cancel = () => this.#conversation.tell({ case: 'cancel', value: { order } });
            signal.addEventListener('abort', cancel, { once: true });
          },
        },
      );
      if (answer.case !== 'dialled') throw unexpected(answer.case);
      return sessionId(answer.value.session);
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  async streams(session: SessionId): Promise<readonly StreamState[]> {
    const answer = await this.#conversation.ask({ case: 'tellStreams', value: { session } }, { timeoutMs: ORDER_MS });
    if (answer.case !== 'streams') throw unexpected(answer.case);
    return answer.value.streams.slice(0, MAX_STREAMS_TOLD).map(streamFrom);
  }

  async load(): Promise<TerminatorLoad> {
    const answer = await this.#conversation.ask({ case: 'tellLoad', value: {} }, { timeoutMs: ORDER_MS });
    if (answer.case !== 'load') throw unexpected(answer.case);
    const { pendingHandshakes, streams } = answer.value;
    return { pendingHandshakes, streams };
  }

  packet(session: SessionId, packet: Uint8Array): void {
    if (this.#link.bufferedBytes < MAX_PACKETS_BUFFERED) {
      this.#conversation.tell({ case: 'packet', value: { session, packet } });
    }
  }

  onEvent(listener: (event: TerminatorEvent) => void): Disposable {
    return this.#events.add(listener);
  }

  /** Cuts it off; `onLost` follows. */
  close(): void {
    this.#conversation.close();
  }

  #hear(news: ToEnforcerBody): void {
    switch (news.case) {
      case 'listening':
        return this.#listening.resolve(port(news.value.port));
      case 'handshakeEnded':
        return this.#events.tell({ kind: 'handshake', ...outcomeFrom(news.value) });
      case 'turnedAway':
        return this.#events.tell({
          kind: 'turned-away',
          reason: reason(news.value.reason),
          count: news.value.count,
        });
      case 'draining':
        return this.#events.tell({ kind: 'draining', session: sessionId(news.value.session) });
      case 'drainReceived':
        return this.#events.tell(drainReceivedFrom(news.value));
      case 'carried':
        return this.#enforcer.carried?.(carriedFrom(news.value));
      case 'packet':
        return this.#enforcer.packet?.(sessionId(news.value.session), packetFrom(news.value));
      default:
        throw new ShellstreamError('MALFORMED', `${news.case} is no news`);
    }
  }

  async #answer(question: ToEnforcerBody): Promise<ToTerminatorInit> {
    const enforcer = this.#enforcer;
    switch (question.case) {
      case 'challenge': {
        const evidence = await enforcer.challenge(challengeFrom(question.value));
        return { case: 'evidence', value: { evidence: encodeEvidence(evidence) } };
      }
      case 'admit':
        return { case: 'admission', value: admissionTo(await enforcer.admit(admitFrom(question.value))) };
      case 'mayRenew':
        await enforcer.mayRenew(sessionId(question.value.session));
        return DONE;
      case 'approach': {
        const evidence = await enforcer.approach(approachFrom(question.value));
        return { case: 'evidence', value: { evidence: encodeEvidence(evidence) } };
      }
      case 'accept':
        return { case: 'admission', value: admissionTo(await enforcer.accept(acceptFrom(question.value))) };
      case 'setPeerLevel':
        await enforcer.setPeerLevel(sessionId(question.value.session), level(question.value.level));
        return DONE;
      case 'release':
        return this.#release(question.value.sessions);
      case 'resume': {
        const sessions = this.#resume?.(claimsFrom(question.value.claims)) ?? [];
        return { case: 'resumed', value: { sessions: [...sessions] } };
      }
      default:
        throw new ShellstreamError('MALFORMED', `${question.case} is no question`);
    }
  }

  /**
   * Begun with in their order and carried out at once, whatever fails of them: the answer says what did.
   * No function waits for them: it would hold the whole question while one session takes its time, and of such questions
   * a thousand may be open.
   */
  #release(sessions: readonly WireSessionEnd[]): Promise<ToTerminatorInit> {
    const ends = sessionEndsFrom(sessions).map((end) => this.#releaseOne(end));
    return Promise.all(ends).then((outcomes) => {
      const failures = outcomes.flatMap((outcome, place) =>
        outcome === undefined ? [] : [{ place, why: failed(outcome.error) }],
      );
      return { case: 'released', value: { failures } };
    });
  }

  /** Never rejects: what it failed with. */
  async #releaseOne({ session, reason: why, byPeer, lastWord }: SessionEnd): Promise<{ error: unknown } | undefined> {
    try {
      await this.#enforcer.release(session, why, byPeer, lastWord);
      return undefined;
    } catch (error) {
      // It took its word back: as with news that make no sense, nothing more is heard of it.
      if (reasonOf(error) === 'MALFORMED') this.#conversation.close();
      return { error };
    }
  }
}

const DONE: ToTerminatorInit = { case: 'done', value: {} };

const DIALECT: Dialect<ToTerminatorInit, ToEnforcerBody> = {
  encode: encodeToTerminator,
  decode: decodeToEnforcer,
  kindOf: (body) => {
    switch (body.case) {
      case 'challenge':
      case 'admit':
      case 'mayRenew':
      case 'approach':
      case 'accept':
      case 'setPeerLevel':
      case 'release':
      case 'resume':
        return 'question';
      case 'done':
      case 'failed':
      case 'dialled':
      case 'streams':
      case 'load':
        return 'answer';
      case 'listening':
      case 'handshakeEnded':
      case 'turnedAway':
      case 'draining':
      case 'drainReceived':
      case 'carried':
      case 'packet':
        return 'news';
    }
  },
  failed: (error) => ({ case: 'failed', value: failed(error) }),
  failure: (body) => (body.case === 'failed' ? failure(body.value) : undefined),
};

function unexpected(what: string): ShellstreamError {
  return new ShellstreamError('INTERNAL', `the terminator answers with ${what}`);
}
