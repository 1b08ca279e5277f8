/**
 * A terminator that was taken over: whoever sits in it says over the border what they like, and hears what comes back.
 * The enforcer at the other end is the real one, over a data plane in memory.
 */
import { tierPolicyOf } from '../../protocol/capability/index.ts';
import { reasonFromWire } from '../../protocol/reasons.ts';
import { type EnforcerParts, LocalEnforcer } from '../../src/enforcer/enforcer.ts';
import { Nonces } from '../../src/enforcer/nonces.ts';
import type { LastWord, SessionId, StreamTotals } from '../../src/enforcer/ports.ts';
import { acceptTo, admitTo, approachTo, challengeTo } from '../../src/enforcer/process/convert.ts';
import {
  decodeToTerminator,
  encodeToEnforcer,
  type ToEnforcerInit,
  type ToTerminatorBody,
} from '../../src/enforcer/process/messages.ts';
import { RemoteTerminator, type RemoteTerminatorParts } from '../../src/enforcer/process/remote-terminator.ts';
import { type SessionEndInit, sessionEndTo } from '../../src/enforcer/process/session-end.ts';
import { type Link, memoryLinkPair } from '../../src/link/index.ts';
import { ACCORD, type MemoryNode } from './memory-nodes.ts';

/** Whoever sits in the terminator. */
export class TakenOver {
  readonly #link: Link;
  readonly #answers = new Map<number, (body: ToTerminatorBody) => void>();
  #lastId = 0;
  /** News and orders, in the order in which they came. */
  readonly heard: { readonly id: number; readonly body: ToTerminatorBody }[] = [];
  /** Called for each order or piece of news when it comes. */
  onHeard: (id: number, body: ToTerminatorBody) => void = () => {};

  constructor(link: Link) {
    this.#link = link;
    link.onRecord((record) => {
      const { id, body } = decodeToTerminator(record);
      const waiting = this.#answers.get(id);
      if (waiting !== undefined && ANSWERS.has(body.case)) {
        this.#answers.delete(id);
        waiting(body);
        return;
      }
      this.heard.push({ id, body });
      this.onHeard(id, body);
    });
    link.onClose(() => {
      for (const resolve of this.#answers.values()) resolve(GONE);
    });
  }

  get isCutOff(): boolean {
    return this.#link.isClosed;
  }

  /** What comes back; a failure with CONNECTION_LOST when the enforcer cuts the line instead. */
  ask(body: ToEnforcerInit): Promise<ToTerminatorBody> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve) => {
      if (this.isCutOff) return resolve(GONE);
      this.#answers.set(id, resolve);
      this.say(id, body);
    });
  }

  /** The reason of a refusal, or the kind of answer that came in its stead. */
  async reasonFor(body: ToEnforcerInit): Promise<string> {
    const answer = await this.ask(body);
    if (answer.case === 'released') {
      const [failure] = answer.value.failures;
      return failure === undefined ? 'done' : reasonFromWire(failure.why?.reason ?? 0);
    }
    return answer.case === 'failed' ? reasonFromWire(answer.value.reason) : answer.case;
  }

  say(id: number, body: ToEnforcerInit): void {
    this.raw(encodeToEnforcer(id, body));
  }

  raw(bytes: Uint8Array): void {
    this.#link.send(bytes);
  }

  close(): void {
    this.#link.close();
  }
}

const ANSWERS = new Set(['evidence', 'admission', 'resumed', 'released', 'done', 'failed']);
const GONE: ToTerminatorBody = {
  case: 'failed',
  value: { $typeName: 'shellstream.enforcer.v1.Failed', reason: 607, detail: 'cut off', byPeer: false },
};

export interface Door {
  /** The node as this terminator serves it: its own nonces and sessions, and what all terminators share. */
  readonly node: MemoryNode;
  readonly enforcer: LocalEnforcer;
  readonly terminator: RemoteTerminator;
  readonly inside: TakenOver;
  /** Why the enforcer lost it, once it did. */
  readonly lost: string[];
}

/** Another terminator of a node. */
export function openDoor(
  node: MemoryNode,
  {
    resume,
    ...options
  }: Partial<Pick<EnforcerParts, 'intends' | 'onPeerLevel'> & Pick<RemoteTerminatorParts, 'resume'>> = {},
): Door {
  const { clock, posture, accord } = node;
  const nonces = new Nonces(clock, { lifetimeMs: 30_000, limit: 16 });
  const revoked: SessionId[] = [];
  const enforcer = new LocalEnforcer({
    ...node,
    nonces,
    tiers: tierPolicyOf(accord, node.spiffeId.slice('spiffe://'.length).split('/')[0] ?? ''),
    keepaliveOf: () => 25,
    intends: () => true,
    ...options,
    onRevoked: (session, reason) => {
      revoked.push(session);
      void terminator.end(session, reason).catch(() => undefined);
    },
  });
  const links = memoryLinkPair({ clock });
  const lost: string[] = [];
  const terminator: RemoteTerminator = new RemoteTerminator({
    link: links.responder,
    clock,
    enforcer,
    start: { listen: { address: '0.0.0.0', port: 7_843 }, limits: '{}', accord: ACCORD.document, posture },
    ...(resume === undefined ? {} : { resume }),
    onLost: (reason, detail) => lost.push(detail ?? reason),
  });
  const inside = new TakenOver(links.initiator);
  return { node: { ...node, nonces, enforcer, revoked }, enforcer, terminator, inside, lost };
}

const NO_WORD: LastWord = { streams: 0, receivedBytes: 0n, sentBytes: 0n };

/** How a session ended, as a terminator words it. */
export const ended = (session: string, byPeer = false, lastWord = NO_WORD): SessionEndInit =>
  sessionEndTo({ session, reason: 'CLOSED', byPeer, lastWord });

/** Questions as a terminator words them. */
export const say = {
  challenge: (input: Parameters<typeof challengeTo>[0]): ToEnforcerInit => ({
    case: 'challenge',
    value: challengeTo(input),
  }),
  admit: (input: Parameters<typeof admitTo>[0]): ToEnforcerInit => ({ case: 'admit', value: admitTo(input) }),
  mayRenew: (session: string): ToEnforcerInit => ({ case: 'mayRenew', value: { session } }),
  approach: (input: Parameters<typeof approachTo>[0]): ToEnforcerInit => ({
    case: 'approach',
    value: approachTo(input),
  }),
  accept: (input: Parameters<typeof acceptTo>[0]): ToEnforcerInit => ({ case: 'accept', value: acceptTo(input) }),
  setPeerLevel: (session: string, level: number): ToEnforcerInit => ({
    case: 'setPeerLevel',
    value: { session, level },
  }),
  release: (session: string, byPeer = false, lastWord = NO_WORD): ToEnforcerInit =>
    say.releaseAll([ended(session, byPeer, lastWord)]),
  releaseAll: (ends: readonly SessionEndInit[]): ToEnforcerInit => ({
    case: 'release',
    value: { sessions: [...ends] },
  }),
  carried: (session: string, streams: StreamTotals): ToEnforcerInit => ({
    case: 'carried',
    value: { sessions: [{ session, streams }] },
  }),
  resume: (claims: readonly { readonly session: string; readonly token: Uint8Array }[]): ToEnforcerInit => ({
    case: 'resume',
    value: { claims: [...claims] },
  }),
};
