/**
 * The enforcer as a terminator has it that outlives enforcers: while none is there every question fails, and what the
 * next one must know of the sessions that it may let stand is kept for it.
 */
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import type { PostureLevel } from '../../../protocol/posture/level.ts';
import type { Reason } from '../../../protocol/reasons.ts';
import type { Admission, Claim, Enforcer, LastWord, SessionId, StreamTotals } from '../ports.ts';
import type { RemoteEnforcer } from './remote-enforcer.ts';

/** A session that the next enforcer may let stand. */
interface Held {
  readonly token: Uint8Array;
  /** As the peer said it last. */
  peerLevel?: PostureLevel;
  /** It ended while no enforcer was there. */
  end?: { readonly reason: Reason; readonly byPeer: boolean; readonly lastWord: LastWord | undefined };
}

export class ResumingEnforcer implements Enforcer {
  readonly #held = new Map<SessionId, Held>();
  #line: RemoteEnforcer | undefined;

  /** Whether there is anything to come back for. */
  get holdsAny(): boolean {
    return [...this.#held.values()].some(({ end }) => end === undefined);
  }

  mayResume(session: SessionId): boolean {
    return this.#held.has(session);
  }

  /** The first enforcer, and each after it that `resume` found. */
  follow(line: RemoteEnforcer): void {
    this.#line = line;
  }

  lost(line: RemoteEnforcer): void {
    if (this.#line === line) this.#line = undefined;
  }

  /**
   * Claims all that is held from the enforcer, follows it, and tells it what happened meanwhile. Answers the sessions that do not
   * stand any more.
   */
  async resume(line: RemoteEnforcer): Promise<readonly SessionId[]> {
    const claims: Claim[] = [...this.#held].map(([session, { token }]) => ({ session, token }));
    const stand = new Set(await line.resume(claims));
    this.follow(line);
    const gone: SessionId[] = [];
    const told: Promise<void>[] = [];
    for (const { session } of claims) {
      const held = this.#held.get(session);
      if (held === undefined) continue;
      if (!stand.has(session)) {
        this.#held.delete(session);
        gone.push(session);
      } else if (held.end !== undefined) {
        told.push(this.release(session, held.end.reason, held.end.byPeer, held.end.lastWord));
      } else if (held.peerLevel !== undefined) {
        told.push(this.setPeerLevel(session, held.peerLevel));
      }
    }
    await Promise.all(told);
    return gone;
  }

  async challenge(input: Parameters<Enforcer['challenge']>[0]) {
    return await this.#present.challenge(input);
  }

  async admit(input: Parameters<Enforcer['admit']>[0]): Promise<Admission> {
    return this.#hold(await this.#present.admit(input));
  }

  async mayRenew(session: SessionId): Promise<void> {
    await this.#present.mayRenew(session);
  }

  async approach(input: Parameters<Enforcer['approach']>[0]) {
    return await this.#present.approach(input);
  }

  async accept(input: Parameters<Enforcer['accept']>[0]): Promise<Admission> {
    return this.#hold(await this.#present.accept(input));
  }

  async setPeerLevel(session: SessionId, peerLevel: PostureLevel): Promise<void> {
    const held = this.#held.get(session);
    if (held !== undefined) held.peerLevel = peerLevel;
    try {
      await this.#present.setPeerLevel(session, peerLevel);
    } catch (error) {
      // The next enforcer is told; until there is one, nobody could act on it.
      if (held === undefined || reasonOf(error) !== 'CONNECTION_LOST') throw error;
    }
  }

  async release(session: SessionId, reason: Reason, byPeer = false, lastWord?: LastWord): Promise<void> {
    const held = this.#held.get(session);
    if (this.#line !== undefined) {
      this.#held.delete(session);
      return await this.#line.release(session, reason, byPeer, lastWord);
    }
    if (held !== undefined) held.end ??= { reason, byPeer, lastWord };
  }

  carried(sessions: ReadonlyMap<SessionId, StreamTotals>): void {
    this.#line?.carried(sessions);
  }

  packet(session: SessionId, packet: Uint8Array): void {
    this.#line?.packet(session, packet);
  }

  get #present(): RemoteEnforcer {
    if (this.#line === undefined) throw new ShellstreamError('CONNECTION_LOST', 'the enforcer is away');
    return this.#line;
  }

  #hold(admission: Admission): Admission {
    const { id, resumeToken } = admission;
    if (resumeToken === undefined) this.#held.delete(id);
    else this.#held.set(id, { token: resumeToken });
    return admission;
  }
}
