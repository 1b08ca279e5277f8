/**
 * The enforcer's own judgement of what stands. Terminators judge their sessions and let go of them; here it is seen to
 * that they did, so that one that was taken over, or hangs, keeps nothing that posture, drain or expiry took away.
 */
import { type Accord, freshSatRequired, judgeSession } from '../../protocol/posture/index.ts';
import { mostRestrictive } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { SessionDirectory, Standing } from './directory.ts';
import type { PostureReader, RevocationReader } from './ports.ts';
import { isRevoked } from './revocation.ts';

export interface OverseerParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly posture: PostureReader;
  readonly accord: Accord;
  readonly directory: SessionDirectory;
}

/** How long after its time a terminator may take to let go by itself. */
const GRACE_MS = 1_000;
const SWEEP_MS = 1_000;
/** For an attestation that a fall of the level asks for: to hear of it, to have a token minted, and the handshake's own time. */
const ATTEST_MS = 30_000;

export class Overseer implements Disposable {
  readonly #parts: OverseerParts;
  #timer: Timer | undefined;

  constructor(parts: OverseerParts) {
    this.#parts = parts;
    this.#watch();
  }

  /** The level changed, and every terminator had its time to follow. What stands against it is taken away now. */
  async postureChanged(): Promise<void> {
    await Promise.all(this.#parts.directory.all.map((standing) => this.#judge(standing, 0)));
  }

  /** Something was revoked: what stands on it ends now, here and in the kernel, whatever its terminator does. How many did. */
  async revoked(revocations: RevocationReader): Promise<number> {
    const found = this.#parts.directory.all.filter((standing) => isRevoked(revocations, standing));
    await Promise.all(found.map((standing) => this.#revoke(standing, 'REVOKED')));
    return found.length;
  }

  /** A peer said its level. Its terminator has a moment: the peer's own DRAIN may be on its way. */
  peerLevelChanged(standing: Standing): void {
    void this.#judge(standing, GRACE_MS);
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  async #judge(standing: Standing, graceMs: number): Promise<void> {
    const { accord, posture, directory, clock } = this.#parts;
    const { admission, peerLevel, judgedLevel } = standing;
    const { id, offer, grant, peer } = admission;
    const level = mostRestrictive(posture.level, peerLevel);
    if (level === judgedLevel) return;
    directory.note(id, { judgedLevel: level });
    // An initiator was not told its tier; the responder judges by it.
    const tier = peer.tier ?? 'site_owner';
    const verdict = judgeSession(accord, { type: offer.sessionType, tier, grant }, judgedLevel, level);
    if (!freshSatRequired(level, accord)) directory.note(id, { attestsByMs: undefined });
    else if ('reattest' in verdict && verdict.reattest) {
      directory.note(id, { attestsByMs: clock.monotonic() + ATTEST_MS });
    }
    switch (verdict.kind) {
      case 'keep':
        return;
      case 'narrow':
        return directory.note(id, {
          admission: { ...admission, grant: { ...grant, capabilities: verdict.capabilities } },
        });
      case 'drain':
        return directory.note(id, { endsAtMs: clock.monotonic() + verdict.deadlineMs + GRACE_MS });
      case 'end':
        if (graceMs > 0) return directory.note(id, { endsAtMs: clock.monotonic() + graceMs });
        return await this.#revoke(standing, verdict.reason);
    }
  }

  #watch(): void {
    this.#timer = this.#parts.clock.after(SWEEP_MS, () => {
      this.#watch();
      void this.#sweep();
    });
  }

  async #sweep(): Promise<void> {
    const { clock, directory } = this.#parts;
    const [now, wall] = [clock.monotonic(), clock.now()];
    for (const standing of directory.all) {
      const { endsAtMs, attestsByMs, admission } = standing;
      if (attestsByMs !== undefined && attestsByMs <= now) await this.#revoke(standing, 'SAT_NOT_FRESH');
      else if (endsAtMs !== undefined && endsAtMs <= now) await this.#revoke(standing, 'POSTURE_CHANGED');
      else if (admission.expiresAt + GRACE_MS <= wall) await this.#revoke(standing, 'EXPIRED');
    }
  }

  async #revoke({ admission }: Standing, reason: Reason): Promise<void> {
    const { directory, log } = this.#parts;
    log.warn('a session was taken from its terminator', { session: admission.id, reason });
    await directory.revoke(admission.id, reason).catch((error: unknown) => {
      log.error('session not fully released', { session: admission.id, error });
    });
  }
}
