/**
 * Every session that stands on this node, whichever terminator holds its connection: what the console shows, what limits
 * count, and where a peer's former session is found. It is written by the enforcers alone; what a terminator says of
 * its sessions changes nothing here but words for the console.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Role } from '../../protocol/handshake/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { Listeners } from '../base/listeners.ts';
import type { ControlFlow } from '../dataplane/ports.ts';
import type { Credentials } from './credentials.ts';
import type { Member } from './overlay.ts';
import type { Admission, SessionId } from './ports.ts';

/** A session with what it holds. */
export interface Standing {
  readonly admission: Admission;
  readonly credentials: Credentials;
  readonly role: Role;
  /** Wall time, milliseconds. */
  readonly openedAtMs: number;
  /** As the peer said it last. */
  readonly peerLevel: PostureLevel;
  /** The lower of both ends' levels when the session was judged last. */
  readonly judgedLevel: PostureLevel;
  /** Monotonic milliseconds: whatever its terminator does, it stands no longer than this. */
  readonly endsAtMs?: number;
  /** Monotonic milliseconds: it stands no longer than this unless it attested anew. */
  readonly attestsByMs?: number | undefined;
  readonly member?: Member;
  /** Its connection, which carries the last word at lockdown. */
  readonly control?: ControlFlow;
}

/** Who holds a session, and can be made to let go of it. */
export interface Holder {
  /** A terminator that does not let go of it by itself soon after is told to. */
  release(session: SessionId, reason: Reason): Promise<void>;
  /** The enforcer ended it without being asked; its connection is to end too. */
  revoked(session: SessionId, reason: Reason): void;
}

/** See `takePlace`. */
export interface Place extends Disposable {
  put(holder: Holder, standing: Standing): void;
}

export type DirectoryEvent =
  | { readonly kind: 'opened'; readonly standing: Standing }
  | { readonly kind: 'ended'; readonly standing: Standing; readonly reason: Reason; readonly byPeer: boolean };

export interface DirectoryLimits {
  readonly sessions: number;
  readonly sessionsPerIdentity: number;
}

export class SessionDirectory {
  readonly #limits: DirectoryLimits;
  readonly #standing = new Map<SessionId, { standing: Standing; readonly holder: Holder }>();
  readonly #perIdentity = new Map<string, number>();
  /** Mesh sessions with a tunnel, by the peer's identity: at most one each. */
  readonly #tunnels = new Map<string, SessionId>();
  readonly #listeners = new Listeners<DirectoryEvent>();
  readonly #lessened = new Listeners<SessionId>();
  /** Places that were taken and hold no session yet. */
  #promised = 0;

  constructor(limits: DirectoryLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#standing.size;
  }

  get all(): readonly Standing[] {
    return [...this.#standing.values()].map(({ standing }) => standing);
  }

  /** The connections under all sessions, as far as they have addresses. */
  get controls(): readonly ControlFlow[] {
    return this.all.flatMap(({ control }) => (control === undefined ? [] : [control]));
  }

  get(id: SessionId): Standing | undefined {
    return this.#standing.get(id)?.standing;
  }

  /** Throws SESSION_LIMIT when the node has no room; asked before anything is spent on a stranger. */
  refuseWhenFull(): void {
    if (this.#standing.size + this.#promised >= this.#limits.sessions) throw new ShellstreamError('SESSION_LIMIT');
  }

  /**
   * A place for a session that is about to stand; given back when disposed, unless the session was put into it.
   * Throws SESSION_LIMIT when the node has none left, or the identity. @param former goes in the same moment
   */
  takePlace(spiffeId: string, former?: SessionId): Place {
    const room = former === undefined ? 0 : 1;
    const has = (this.#perIdentity.get(spiffeId) ?? 0) - room;
    if (this.#standing.size + this.#promised - room >= this.#limits.sessions)
      throw new ShellstreamError('SESSION_LIMIT');
    if (has >= this.#limits.sessionsPerIdentity) {
      throw new ShellstreamError('SESSION_LIMIT', `too many sessions of ${spiffeId}`);
    }
    this.#count(spiffeId, 1);
    this.#promised += 1;
    let isTaken = true;
    const leave = (): void => {
      if (isTaken) this.#promised -= 1;
      isTaken = false;
    };
    return {
      put: (holder, standing) => {
        leave();
        this.#put(holder, standing);
        this.#listeners.tell({ kind: 'opened', standing });
      },
      [Symbol.dispose]: () => {
        if (isTaken) this.#count(spiffeId, -1);
        leave();
      },
    };
  }

  /** A session that attested again. */
  renew(holder: Holder, standing: Standing): void {
    this.#put(holder, standing);
  }

  /** Notes something new of a session that stands; nothing if it does not. */
  note(
    id: SessionId,
    news: Partial<Pick<Standing, 'admission' | 'peerLevel' | 'judgedLevel' | 'endsAtMs' | 'attestsByMs'>>,
  ): void {
    const entry = this.#standing.get(id);
    if (entry !== undefined) entry.standing = { ...entry.standing, ...news };
    if (entry !== undefined && (news.admission ?? news.endsAtMs) !== undefined) this.#lessened.tell(id);
  }

  /** A session that stands was given less: a narrower grant, or a nearer end. */
  onLessened(listener: (id: SessionId) => void): Disposable {
    return this.#lessened.add(listener);
  }

  onEvent(listener: (event: DirectoryEvent) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** What it was; undefined if it is gone already. @param byPeer the peer ended it */
  delete(id: SessionId, reason: Reason, byPeer = false): Standing | undefined {
    const standing = this.get(id);
    if (standing === undefined) return undefined;
    const { spiffeId } = standing.admission.peer;
    this.#standing.delete(id);
    this.#count(spiffeId, -1);
    if (this.#tunnels.get(spiffeId) === id) this.#tunnels.delete(spiffeId);
    this.#listeners.tell({ kind: 'ended', standing, reason, byPeer });
    return standing;
  }

  /** A peer that comes again has restarted or lost its connection: its former tunnel is in the way of the new one. */
  tunnelOf(spiffeId: string): Standing | undefined {
    const id = this.#tunnels.get(spiffeId);
    return id === undefined ? undefined : this.get(id);
  }

  /** Ends a session that its terminator was told to judge, and may not have come to yet. Idempotent. */
  async release(id: SessionId, reason: Reason): Promise<void> {
    await this.#standing.get(id)?.holder.release(id, reason);
  }

  /** Ends a session without having been asked by whoever holds it. Idempotent. */
  async revoke(id: SessionId, reason: Reason): Promise<void> {
    const holder = this.#standing.get(id)?.holder;
    if (holder === undefined) return;
    holder.revoked(id, reason);
    await holder.release(id, reason);
  }

  #put(holder: Holder, standing: Standing): void {
    const { id, peer } = standing.admission;
    this.#standing.set(id, { standing, holder });
    if (standing.member !== undefined) this.#tunnels.set(peer.spiffeId, id);
  }

  #count(spiffeId: string, change: 1 | -1): void {
    const count = (this.#perIdentity.get(spiffeId) ?? 0) + change;
    if (count === 0) this.#perIdentity.delete(spiffeId);
    else this.#perIdentity.set(spiffeId, count);
  }
}
