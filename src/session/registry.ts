/**
 * Every live session of this node. What is not in here has no flow, no tunnel and no stream: sessions enter after the
 * enforcer admitted them, and leave only through their own end, which releases what they hold.
 */
import type { TunnelState } from '../../protocol/channel/index.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { Enforcer, SessionId } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import type { Link } from '../link/index.ts';
import type { Attested } from './attest.ts';
import { Session, type SessionListener, type SessionParts } from './session.ts';
import { SessionLines } from './session-lines.ts';

export interface RegistryParts extends SessionParts {
  readonly log: Logger;
  readonly enforcer: Enforcer;
}

export type RegistryEvent =
  | { readonly kind: 'opened'; readonly session: Session }
  | { readonly kind: 'ended'; readonly session: Session; readonly reason: Reason; readonly byPeer: boolean }
  | { readonly kind: 'draining'; readonly session: Session }
  | {
      readonly kind: 'drain-received';
      readonly session: Session;
      readonly reason: Reason;
      readonly level: PostureLevel | undefined;
      readonly epoch: bigint;
      readonly deadlineMs: number;
    };

/** More than admissions can be between their install and their opening; what ended by itself stays among them for a while. */
const MAX_REVOKED = 1_024;

export class SessionRegistry {
  readonly #parts: RegistryParts;
  readonly #sessions = new Map<string, Session>();
  readonly #ending = new Set<Promise<void>>();
  /** Sessions that were to end before they were opened, and why; the last few. */
  readonly #revoked = new Map<SessionId, Reason>();
  /** The node drains: what opens now drains too. By the monotonic clock. */
  #draining: { readonly reason: Reason; readonly until: number } | undefined;
  readonly #listeners = new Listeners<RegistryEvent>();
  readonly #ends: SessionLines<{ readonly reason: Reason; readonly byPeer: boolean }>;
  readonly #tunnels: SessionLines<{ readonly state: TunnelState }>;
  /** Of one kind all: reason and level are the peer's to choose. */
  readonly #drains: SessionLines<Readonly<Record<never, never>>>;

  constructor(parts: RegistryParts) {
    const { clock, log } = parts;
    this.#parts = parts;
    this.#ends = new SessionLines({ clock, log, one: 'session ended', more: 'more sessions ended' });
    this.#tunnels = new SessionLines({
      clock,
      log,
      one: 'tunnel reported by peer',
      more: 'more tunnels reported by peers',
    });
    this.#drains = new SessionLines({ clock, log, one: 'drain received', more: 'more drains received' });
  }

  /** From here on the session is live; at once, so that no end of its link is missed. `approach` for those that we dialled. */
  open(link: Link, attested: Attested, approach?: Approach): Session {
    const { admission } = attested;
    const { spiffeId } = admission.peer;
    const session = new Session(this.#parts, link, attested, this.#listener(), approach);
    if (session.state !== 'ended') this.#sessions.set(session.id, session);
    const { offer, grant, effectiveLevel, governedBy, peer } = admission;
    this.#parts.log.info('session opened', {
      session: session.id,
      role: session.role,
      peer: spiffeId,
      tier: peer.tier,
      type: offer.sessionType,
      mode: grant.mode,
      capabilities: grant.capabilities,
      targets: grant.targets.length,
      level: effectiveLevel,
      governedBy,
    });
    this.#listeners.tell({ kind: 'opened', session });
    const revoked = this.#revoked.get(session.id);
    if (revoked !== undefined) session.end(revoked);
    this.#revoked.delete(session.id);
    if (this.#draining !== undefined) {
      session.drain(this.#draining.reason, Math.max(0, this.#draining.until - this.#parts.clock.monotonic()));
    }
    return session;
  }

  get(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  get all(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  get size(): number {
    return this.#sessions.size;
  }

  of(spiffeId: string): readonly Session[] {
    return this.all.filter((session) => session.admission.peer.spiffeId === spiffeId);
  }

  /**
   * Our posture changed: every peer is told, every session judged; first those of the mesh, since at lockdown their peers
   * are held by what they hear in half a second. Resolves when those that ended hold nothing more.
   */
  async postureChanged(): Promise<void> {
    const isMesh = ({ admission }: Session): boolean => admission.offer.sessionType === 'mesh';
    const all = this.all;
    for (const session of all.filter(isMesh)) session.ownPostureChanged();
    for (const session of all) if (!isMesh(session)) session.ownPostureChanged();
    await this.settled();
  }

  identityRotated(): void {
    for (const session of this.all) session.identityRotated();
  }

  /** Lets streams finish until the deadline; resolves when every session has ended and holds nothing more. For good. */
  async drainAll(reason: Reason, deadlineMs: number): Promise<void> {
    this.#draining = { reason, until: this.#parts.clock.monotonic() + deadlineMs };
    const ended = Promise.withResolvers<void>();
    using _subscription = this.onEvent(() => this.#sessions.size === 0 && ended.resolve());
    for (const session of this.all) session.drain(reason, deadlineMs);
    if (this.#sessions.size > 0) await ended.promise;
    this.#draining = { reason, until: 0 };
    await this.settled();
    this.#tellRest();
  }

  /** Ends a session, also one that is only about to be opened; resolves when it holds nothing more. */
  async end(id: SessionId, reason: Reason): Promise<void> {
    const session = this.get(id);
    if (session !== undefined) {
      session.end(reason);
      return await session.released();
    }
    this.#revoked.set(id, reason);
    const [oldest] = this.#revoked.keys();
    if (this.#revoked.size > MAX_REVOKED && oldest !== undefined) this.#revoked.delete(oldest);
  }

  async endAll(reason: Reason): Promise<void> {
    for (const session of this.all) session.end(reason);
    await this.settled();
    this.#tellRest();
  }

  /** Resolves when no ended session holds anything any more. */
  async settled(): Promise<void> {
    while (this.#ending.size > 0) await Promise.all(this.#ending);
  }

  onEvent(listener: (event: RegistryEvent) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** The process may end next. */
  #tellRest(): void {
    this.#tunnels.tellRest();
    this.#drains.tellRest();
    this.#ends.tellRest();
  }

  #listener(): SessionListener {
    const { log } = this.#parts;
    return {
      draining: (session) => this.#listeners.tell({ kind: 'draining', session }),
      drainReceived: (session, { reason, level, epoch, deadlineMs }) => {
        this.#drains.say(session.id, {}, { reason, level, deadlineMs });
        this.#listeners.tell({ kind: 'drain-received', session, reason, level, epoch, deadlineMs });
      },
      tunnelReported: (session, { state, generation }) => this.#tunnels.say(session.id, { state }, { generation }),
      attestedAgain: (session) =>
        log.info('session attested again', { session: session.id, expiresAt: session.admission.expiresAt }),
      ended: (session, reason, byPeer, detail) => {
        this.#sessions.delete(session.id);
        const released = session
          .released()
          .catch((error: unknown) => log.error('session not fully released', { session: session.id, error }))
          .finally(() => this.#ending.delete(released));
        this.#ending.add(released);
        this.#ends.say(session.id, { reason, byPeer }, { detail });
        this.#listeners.tell({ kind: 'ended', session, reason, byPeer });
      },
    };
  }
}
