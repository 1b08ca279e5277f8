/**
 * Sessions that an enforcer which died left in the kernel, and whose terminators were not heard of yet. Each waits for
 * whoever has its token; nobody else can have it, and after the grace nobody can.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Holder, SessionDirectory } from './directory.ts';
import type { LocalEnforcer } from './enforcer.ts';
import type { Keeper } from './keeper.ts';
import type { KeptSession } from './kept-session.ts';
import type { Overlay } from './overlay.ts';
import type { Claim, SessionId } from './ports.ts';
import { NO_STREAMS, type StreamsAtEnd } from './stream-totals.ts';
import type { TransitEvidence } from './transit-evidence.ts';

export interface OrphansParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly directory: SessionDirectory;
  readonly overlay: Overlay;
  readonly keeper: Keeper;
  readonly evidence?: TransitEvidence;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  readonly graceMs: number;
}

export class Orphans implements Holder, AsyncDisposable {
  readonly #parts: OrphansParts;
  readonly #hashes = new Map<SessionId, Uint8Array>();
  readonly #timer: Timer;

  constructor(parts: OrphansParts) {
    this.#parts = parts;
    this.#timer = parts.clock.after(parts.graceMs, () => void this.#releaseAll('CONNECTION_LOST'));
  }

  /** From here on it stands. @throws ShellstreamError SESSION_LIMIT */
  take({ standing, resumeHash }: KeptSession): void {
    const { id, peer } = standing.admission;
    using place = this.#parts.directory.takePlace(peer.spiffeId);
    this.#hashes.set(id, resumeHash);
    place.put(this, standing);
  }

  /** Those of the claims that hold: their sessions are `by`'s from here on. */
  claim(claims: readonly Claim[], by: LocalEnforcer): readonly SessionId[] {
    const { sha256, directory, log } = this.#parts;
    const own = claims.filter(({ session, token }) => {
      const expected = this.#hashes.get(session);
      const standing = directory.get(session);
      if (expected === undefined || standing === undefined) return false;
      if (!timingSafeEqual(sha256(token), expected)) {
        log.warn('a session was claimed with a wrong token', { session });
        return false;
      }
      this.#hashes.delete(session);
      by.inherit(standing);
      return true;
    });
    return own.map(({ session }) => session);
  }

  async release(session: SessionId, reason: Reason): Promise<void> {
    if (!this.#hashes.delete(session)) return;
    const { directory, overlay, keeper, evidence } = this.#parts;
    const standing = directory.delete(session, reason);
    const ending = standing === undefined ? undefined : evidence?.ending(standing, reason, false);
    ending?.counted(NOTHING_TOLD);
    try {
      if (standing?.member !== undefined) await overlay.leave(standing.member);
      ending?.gone();
    } finally {
      await keeper.forget(session);
    }
  }

  /** There is nobody to tell. */
  revoked(): void {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel();
    await this.#releaseAll('SHUTTING_DOWN');
  }

  async #releaseAll(reason: Reason): Promise<void> {
    const { log } = this.#parts;
    const releases = [...this.#hashes.keys()].map(async (session) => {
      log.warn('nobody came back for a session', { session });
      await this.release(session, reason).catch((error: unknown) => {
        log.error('session not fully released', { session, error });
      });
    });
    await Promise.all(releases);
  }
}

/** Its terminator was not heard of. */
const NOTHING_TOLD: StreamsAtEnd = { ...NO_STREAMS, isComplete: false };
