/** The enforcer as a terminator in another process has it, and that terminator as it serves the enforcer's orders. */
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import type { Released, Start } from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import { parseEvidence, parseOffer } from '../../../protocol/handshake/index.ts';
import type { Reason } from '../../../protocol/reasons.ts';
import type { Clock } from '../../base/clock.ts';
import type { Link } from '../../link/index.ts';
import type { Admission, Claim, Enforcer, LastWord, SessionId, StreamTotals } from '../ports.ts';
import type { Terminator, TerminatorEvent } from '../terminator-port.ts';
import { Conversation, type Dialect } from './conversation.ts';
import {
  acceptTo,
  address,
  admissionFrom,
  admitTo,
  approachTo,
  carriedTo,
  challengeTo,
  level,
  MAX_CLAIMS,
  MAX_PACKETS_BUFFERED,
  malformed,
  packetFrom,
  port,
  present,
  reason,
  requestFrom,
  sessionId,
  spiffeId,
  streamTo,
} from './convert.ts';
import {
  decodeToTerminator,
  encodeToEnforcer,
  failed,
  failure,
  reasonCode,
  type ToEnforcerInit,
  type ToTerminatorBody,
} from './messages.ts';
import { type Failures, Releases } from './releases.ts';
import { type SessionEndInit, sessionEndTo } from './session-end.ts';

/** What the enforcer tells a terminator before it may begin. */
export interface StartOrder {
  readonly listen: { readonly address: string; readonly port: number };
  /** JSON. */
  readonly limits: string;
  readonly accord: Uint8Array;
  readonly posture: { readonly level: 1 | 2 | 3 | 4 | 5; readonly epoch: bigint };
  /** How long sessions with a resume token outlive the enforcer; absent: not at all. */
  readonly graceMs?: number;
}

export interface RemoteEnforcerParts {
  readonly link: Link;
  readonly clock: Clock;
  /** The enforcer is gone, and with it everything that this terminator's sessions had in the kernel. */
  readonly onLost: (reason: Reason, detail: string | undefined) => void;
}

export class RemoteEnforcer implements Enforcer {
  readonly #link: Link;
  readonly #conversation: Conversation<ToEnforcerInit, ToTerminatorBody>;
  readonly #started = Promise.withResolvers<StartOrder>();
  readonly #releases: Releases;
  readonly #dials = new Map<number, AbortController>();
  #terminator: Terminator | undefined;
  #events: Disposable | undefined;
  /** What was told between the start and the moment at which the terminator is there to hear it. */
  #posture: StartOrder['posture'] | undefined;

  constructor({ link, clock, onLost }: RemoteEnforcerParts) {
    this.#link = link;
    this.#started.promise.catch(() => undefined);
    this.#releases = new Releases((sessions) => this.#release(sessions));
    this.#conversation = new Conversation({
      link,
      clock,
      dialect: DIALECT,
      beforeSaying: () => this.#releases.flush(),
      answer: (order, id) => this.#obey(order, id),
      hear: (news) => this.#hear(news),
      onClose: (why, detail) => {
        this.#started.reject(new ShellstreamError('CONNECTION_LOST', 'the enforcer went away'));
        this.#events?.[Symbol.dispose]();
        onLost(why, detail);
      },
    });
  }

  /** The first thing that the enforcer says. */
  get started(): Promise<StartOrder> {
    return this.#started.promise;
  }

  /** The terminator listens, and obeys from here on. */
  serve(terminator: Terminator, listening: { readonly port: number }): void {
    this.#terminator = terminator;
    if (this.#posture !== undefined) terminator.setPosture(this.#posture.level, this.#posture.epoch);
    this.#events = terminator.onEvent((event) => this.#conversation.tell(eventTo(event)));
    this.#conversation.tell({ case: 'listening', value: listening });
  }

  async challenge(input: Parameters<Enforcer['challenge']>[0]) {
    return evidenceOf(await this.#conversation.ask({ case: 'challenge', value: challengeTo(input) }));
  }

  async admit(input: Parameters<Enforcer['admit']>[0]): Promise<Admission> {
    return admissionOf(await this.#conversation.ask({ case: 'admit', value: admitTo(input) }));
  }

  async mayRenew(session: SessionId): Promise<void> {
    await this.#conversation.ask({ case: 'mayRenew', value: { session } });
  }

  async approach(input: Parameters<Enforcer['approach']>[0]) {
    return evidenceOf(await this.#conversation.ask({ case: 'approach', value: approachTo(input) }));
  }

  async accept(input: Parameters<Enforcer['accept']>[0]): Promise<Admission> {
    return admissionOf(await this.#conversation.ask({ case: 'accept', value: acceptTo(input) }));
  }

  async setPeerLevel(session: string, peerLevel: number): Promise<void> {
    await this.#conversation.ask({ case: 'setPeerLevel', value: { session, level: peerLevel } });
  }

  release(session: string, reason: Reason, byPeer = false, lastWord?: LastWord): Promise<void> {
    return this.#releases.add(sessionEndTo({ session, reason, byPeer, lastWord }));
  }

  packet(session: SessionId, packet: Uint8Array): void {
    if (this.#link.bufferedBytes < MAX_PACKETS_BUFFERED) {
      this.#conversation.tell({ case: 'packet', value: { session, packet } });
    }
  }

  carried(sessions: ReadonlyMap<SessionId, StreamTotals>): void {
    for (const value of carriedTo(sessions)) this.#conversation.tell({ case: 'carried', value });
  }

  /** Before `serve`, of one that was there before: which sessions an enforcer that was started anew lets stand. */
  async resume(claims: readonly Claim[]): Promise<readonly SessionId[]> {
    const sessions: SessionId[] = [];
    for (let at = 0; at < claims.length; at += MAX_CLAIMS) {
      const value = { claims: claims.slice(at, at + MAX_CLAIMS) };
      const answer = await this.#conversation.ask({ case: 'resume', value });
      if (answer.case !== 'resumed') throw unexpected(answer.case);
      sessions.push(...answer.value.sessions.map(sessionId));
    }
    return sessions;
  }

  /** Ends the connection to it; `onLost` follows. */
  close(): void {
    this.#conversation.close();
  }

  async #release(sessions: SessionEndInit[]): Promise<Failures> {
    try {
      const answer = await this.#conversation.ask({ case: 'release', value: { sessions } });
      if (answer.case !== 'released') throw unexpected(answer.case);
      return failuresFrom(answer.value, sessions.length);
    } catch (error) {
      // An enforcer that lost us takes away all that we held, and one that is gone has nothing that renews its lease.
      if (reasonOf(error) === 'CONNECTION_LOST') return new Map();
      throw error;
    }
  }

  #hear(news: ToTerminatorBody): void {
    switch (news.case) {
      case 'start':
        return this.#started.resolve(startFrom(news.value));
      case 'setPosture': {
        this.#posture = { level: level(news.value.level), epoch: news.value.epoch };
        return this.#terminator?.setPosture(this.#posture.level, this.#posture.epoch);
      }
      case 'identityRotated':
        return this.#terminator?.identityRotated();
      case 'drain': {
        const { session, reason: why, deadlineMs } = news.value;
        return this.#terminator?.drain(sessionId(session), reason(why), deadlineMs);
      }
      case 'packet':
        // Copied: it waits for its turn, and the record is another's then.
        return this.#terminator?.packet?.(sessionId(news.value.session), packetFrom(news.value).slice());
      case 'cancel':
        return this.#dials.get(news.value.order)?.abort();
      default:
        throw new ShellstreamError('MALFORMED', `${news.case} is no news`);
    }
  }

  async #obey(order: ToTerminatorBody, id: number): Promise<ToEnforcerInit> {
    const terminator = this.#terminator;
    if (terminator === undefined) throw new ShellstreamError('OVERLOADED', 'not started yet');
    switch (order.case) {
      case 'judgeSessions':
        await terminator.judgeSessions();
        return DONE;
      case 'end':
        await terminator.end(sessionId(order.value.session), reason(order.value.reason));
        return DONE;
      case 'drainAll':
        await terminator.drainAll(reason(order.value.reason), order.value.deadlineMs);
        return DONE;
      case 'dial': {
        const { offer, expectedId, request, ...to } = order.value;
        const approach = {
          offer: parseOffer(offer),
          expectedId: spiffeId(expectedId),
          request: requestFrom(request),
        };
        const dial = new AbortController();
        this.#dials.set(id, dial);
        try {
          const place = { approach, address: address(to.address), port: port(to.port) };
          return { case: 'dialled', value: { session: await terminator.dial(place, dial.signal) } };
        } finally {
          this.#dials.delete(id);
        }
      }
      case 'tellStreams': {
        const streams = await terminator.streams(sessionId(order.value.session));
        return { case: 'streams', value: { streams: streams.map(streamTo) } };
      }
      case 'tellLoad':
        return { case: 'load', value: await terminator.load() };
      default:
        throw new ShellstreamError('MALFORMED', `${order.case} is no order`);
    }
  }
}

const DONE: ToEnforcerInit = { case: 'done', value: {} };

const DIALECT: Dialect<ToEnforcerInit, ToTerminatorBody> = {
  encode: encodeToEnforcer,
  decode: decodeToTerminator,
  kindOf: (body) => {
    switch (body.case) {
      case 'start':
      case 'setPosture':
      case 'identityRotated':
      case 'drain':
      case 'cancel':
      case 'packet':
        return 'news';
      case 'judgeSessions':
      case 'end':
      case 'drainAll':
      case 'dial':
      case 'tellStreams':
      case 'tellLoad':
        return 'question';
      case 'evidence':
      case 'admission':
      case 'done':
      case 'failed':
      case 'resumed':
      case 'released':
        return 'answer';
    }
  },
  failed: (error) => ({ case: 'failed', value: failed(error) }),
  failure: (body) => (body.case === 'failed' ? failure(body.value) : undefined),
};

function evidenceOf(answer: ToTerminatorBody) {
  if (answer.case !== 'evidence') throw unexpected(answer.case);
  return parseEvidence(answer.value.evidence);
}

function admissionOf(answer: ToTerminatorBody): Admission {
  if (answer.case !== 'admission') throw unexpected(answer.case);
  return admissionFrom(answer.value);
}

/** @throws ShellstreamError MALFORMED */
function failuresFrom({ failures }: Released, count: number): Failures {
  return new Map(
    failures.map(({ place, why }) => {
      if (place >= count) throw malformed('place', place);
      return [place, failure(present('why', why))];
    }),
  );
}

function startFrom({ address: host, port: at, limits, accord, graceMs, ...posture }: Start): StartOrder {
  return {
    listen: { address: address(host), port: port(at) },
    limits,
    accord: new Uint8Array(accord),
    posture: { level: level(posture.level), epoch: posture.epoch },
    ...(graceMs === 0 ? {} : { graceMs }),
  };
}

function eventTo(event: TerminatorEvent): ToEnforcerInit {
  switch (event.kind) {
    case 'handshake': {
      const { role, outcome, seconds } = event;
      return {
        case: 'handshakeEnded',
        value: {
          initiator: role === 'initiator',
          reason: outcome === 'granted' ? 0 : reasonCode(outcome),
          microseconds: Math.min(Math.round(seconds * 1_000_000), 0xffff_ffff),
        },
      };
    }
    case 'turned-away':
      return { case: 'turnedAway', value: { reason: reasonCode(event.reason), count: event.count } };
    case 'draining':
      return { case: 'draining', value: { session: event.session } };
    case 'drain-received':
      return {
        case: 'drainReceived',
        value: {
          session: event.session,
          reason: reasonCode(event.reason),
          level: event.level ?? 0,
          epoch: event.epoch,
          deadlineMs: event.deadlineMs,
        },
      };
  }
}

function unexpected(what: string): ShellstreamError {
  return new ShellstreamError('INTERNAL', `the enforcer answers with ${what}`);
}
