/**
 * The enforcer's own judgement of what stands. What a change of level ends is taken away here at once, while terminators
 * say the last words; and of what they are to let go of in time it is seen to that they did. So one that was taken over,
 * hangs, or has thousands of connections to come to, keeps nothing that posture, drain or expiry took away.
 */
import { REATTEST_MS } from '../../protocol/handshake/index.ts';
import { type Accord, freshSatRequired, judgeSession, type SessionVerdict } from '../../protocol/posture/index.ts';
import { mostRestrictive } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Clock, type Timer, turnEnded } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { SessionDirectory, Standing } from './directory.ts';
import type { Admission, PostureReader, RevocationReader, SessionId } from './ports.ts';
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
/** Sessions that one line of the log names. */
const NAMED = 16;
/** In which those without tunnels end, and how many at least in each: the step behind them waits for all. */
const TURNS = 8;
const LEAST_A_TURN = 256;
/** For an attestation that a fall of the level asks for: to hear of it, and its own time. */
const ATTEST_MS = 5_000 + REATTEST_MS;

export class Overseer implements Disposable {
  readonly #parts: OverseerParts;
  #timer: Timer | undefined;

  constructor(parts: OverseerParts) {
    this.#parts = parts;
    this.#watch();
  }

  /** The level changed, and every terminator was told to judge. What it ends is taken away now, here and in the kernel. */
  async postureChanged(): Promise<void> {
    // What they were told leaves with the end of this turn.
    await turnEnded();
    const ending = this.#standing((standing) => this.#judge(standing, 0));
    await this.#inTurns(ending, (session, reason) => this.#parts.directory.release(session, reason));
  }

  /** Something was revoked: what stands on it ends now, here and in the kernel, whatever its terminator does. How many did. */
  async revoked(revocations: RevocationReader): Promise<number> {
    return await this.#takeAway((standing) => (isRevoked(revocations, standing) ? 'REVOKED' : undefined));
  }

  /** A peer said its level. Its terminator has a moment: the peer's own DRAIN may be on its way. */
  peerLevelChanged(standing: Standing): void {
    this.#judge(standing, GRACE_MS);
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  /** Notes what the level leaves of it. Why it is to end now, if it is. */
  #judge(standing: Standing, graceMs: number): Reason | undefined {
    const { accord, posture, directory, clock } = this.#parts;
    const { admission, peerLevel, judgedLevel } = standing;
    const { id, offer, grant, peer } = admission;
    const level = mostRestrictive(posture.level, peerLevel);
    if (level === judgedLevel) return undefined;
    // An initiator was not told its tier; the responder judges by it.
    const tier = peer.tier ?? 'site_owner';
    const verdict = judgeSession(accord, { type: offer.sessionType, tier, grant }, judgedLevel, level);
    if (verdict.kind === 'end' && graceMs === 0) return verdict.reason;
    const now = clock.monotonic();
    const attests = 'reattest' in verdict && verdict.reattest ? { attestsByMs: now + ATTEST_MS } : {};
    directory.note(id, {
      judgedLevel: level,
      ...(freshSatRequired(level, accord) ? attests : { attestsByMs: undefined }),
      ...leftOf(admission, verdict, now, graceMs),
    });
    return undefined;
  }

  #watch(): void {
    this.#timer = this.#parts.clock.after(SWEEP_MS, () => {
      this.#watch();
      void this.#sweep();
    });
  }

  async #sweep(): Promise<void> {
    const { clock } = this.#parts;
    const [now, wall] = [clock.monotonic(), clock.now()];
    await this.#takeAway(({ endsAtMs, attestsByMs, admission }) => {
      if (attestsByMs !== undefined && attestsByMs <= now) return 'SAT_NOT_FRESH';
      if (endsAtMs !== undefined && endsAtMs <= now) return 'POSTURE_CHANGED';
      return admission.expiresAt + GRACE_MS <= wall ? 'EXPIRED' : undefined;
    });
  }

  /**
   * Ends what there is a reason for, without its terminator. One line of the log for all that go for one reason: they may be
   * ten thousand, and evidence has each of them. How many went.
   */
  async #takeAway(why: (standing: Standing) => Reason | undefined): Promise<number> {
    const { directory, log } = this.#parts;
    const found = this.#standing(why);
    for (const [reason, group] of Map.groupBy(found, (one) => one.reason)) {
      const sessions = group.slice(0, NAMED).map(({ session }) => session);
      log.warn('sessions were taken from their terminators', { reason, count: group.length, sessions });
    }
    await this.#each(found, (session, reason) => directory.revoke(session, reason));
    return found.length;
  }

  #standing(why: (standing: Standing) => Reason | undefined): readonly Found[] {
    return this.#parts.directory.all.flatMap((standing) => {
      const reason = why(standing);
      const hasTunnel = standing.member !== undefined;
      return reason === undefined ? [] : [{ session: standing.admission.id, reason, hasTunnel }];
    });
  }

  /** Those with tunnels first, all in one turn; the rest in some more, while the kernel takes those tunnels away. */
  async #inTurns(found: readonly Found[], end: End): Promise<void> {
    const withTunnels = found.filter(({ hasTunnel }) => hasTunnel);
    const rest = found.filter(({ hasTunnel }) => !hasTunnel);
    const ends = [this.#each(withTunnels, end)];
    const share = Math.max(Math.ceil(rest.length / TURNS), LEAST_A_TURN);
    for (let at = 0; at < rest.length; at += share) {
      if (at > 0 || withTunnels.length > 0) await turnEnded();
      ends.push(this.#each(rest.slice(at, at + share), end));
    }
    await Promise.all(ends);
  }

  /** In this turn. */
  async #each(found: readonly Found[], end: End): Promise<void> {
    const { log } = this.#parts;
    await Promise.all(
      found.map(({ session, reason }) =>
        end(session, reason).catch((error: unknown) => {
          log.error('session not fully released', { session, error });
        }),
      ),
    );
  }
}

/** What the verdict leaves of a session, or until when. */
function leftOf(
  admission: Admission,
  verdict: SessionVerdict,
  now: number,
  graceMs: number,
): Partial<Pick<Standing, 'admission' | 'endsAtMs'>> {
  switch (verdict.kind) {
    case 'keep':
      return {};
    case 'narrow':
      return { admission: { ...admission, grant: { ...admission.grant, capabilities: verdict.capabilities } } };
    case 'drain':
      return { endsAtMs: now + verdict.deadlineMs + GRACE_MS };
    case 'end':
      return { endsAtMs: now + graceMs };
  }
}

type End = (session: SessionId, reason: Reason) => Promise<void>;

/** A session that is to end, and why. */
interface Found {
  readonly session: SessionId;
  readonly reason: Reason;
  readonly hasTunnel: boolean;
}
