/**
 * What the console says, and takes back by itself unless it is confirmed: who cuts off the way by which he came, or opens
 * too much and loses sight of it, need not be there to mend it. What it goes back to is on disk before the tentative
 * level acts.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { type Clock, inTime, type Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { StatedSource } from './source-statements.ts';

export interface Said {
  readonly level: PostureLevel;
  readonly reason: string;
  /** Undefined: until the console says otherwise. */
  readonly forMs?: number | undefined;
}

/** A level that waits for its confirmation. Times are wall time, milliseconds. */
export interface Unconfirmed {
  readonly former: { readonly level: PostureLevel; readonly reason: string; readonly expiresAtMs?: number | undefined };
  /** What waits; undefined: whatever the console says. A later word of the console is not taken back. */
  readonly tentative?: { readonly level: PostureLevel; readonly reason: string } | undefined;
  readonly untilMs: number;
  readonly withinMs: number;
}

/** As the one that confirms it names it. */
export interface Waiting extends Unconfirmed {
  /** Of the console's statement. */
  readonly epoch: bigint;
}

export interface UnconfirmedStore {
  /** What a former run left. */
  readonly kept: Unconfirmed | undefined;
  /** Resolves when it is durable. */
  save(unconfirmed: Unconfirmed | undefined): Promise<void>;
}

export interface ConsoleParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: UnconfirmedStore;
  /** The engine. */
  readonly posture: {
    readonly sources: readonly StatedSource[];
    state(source: string, level: PostureLevel, reason: string, forMs?: number): Promise<void>;
  };
}

const CONSOLE = 'console';
/** A disk that does not answer is one that fails. */
const KEPT_MS = 2_000;
const WITHDRAWN: Unconfirmed['former'] = { level: 5, reason: 'the console says nothing' };

export class ConsoleStatements implements Disposable {
  readonly #parts: ConsoleParts;
  #unconfirmed: Unconfirmed | undefined;
  /** When the former word runs out, monotonic milliseconds; undefined: never. The host's clock may be set while this waits. */
  #formerEndsAt: number | undefined;
  #timer: Timer | undefined;
  /** Grows with every word of the console: there may be two consoles, and disks are slow. */
  #word = 0;

  constructor(parts: ConsoleParts) {
    this.#parts = parts;
  }

  /** A run that died may have been what the confirmation was for: what it loosened goes back, what it tightened waits. */
  async resume(): Promise<void> {
    const { store, clock } = this.#parts;
    const { kept } = store;
    if (kept === undefined) return;
    // Another word came after it, or it never acted: there is nothing to take back.
    if (!this.#isStated(kept)) return await this.#save();
    this.#unconfirmed = kept;
    this.#formerEndsAt = this.#monotonic(kept.former.expiresAtMs);
    if (this.#held().level >= kept.former.level) return await this.#revert();
    this.#wait(Math.min(kept.untilMs - clock.now(), kept.withinMs));
  }

  /** While something waits, it is what the console says: every other word of the console ends the waiting. */
  get unconfirmed(): Waiting | undefined {
    return this.#unconfirmed && { ...this.#unconfirmed, epoch: this.#statedEpoch() };
  }

  /**
   * @param withinMs goes back after this time unless `confirm` was called; undefined: it stands at once
   * @returns the epoch of this statement; another console may have said another one by then
   * @throws ShellstreamError INTERNAL when a loosening could not be taken back, or another word came before it acted
   */
  async set(said: Said, withinMs?: number): Promise<bigint> {
    const { clock } = this.#parts;
    const { level, reason } = said;
    this.#word += 1;
    if (withinMs === undefined) {
      this.#timer?.cancel();
      this.#unconfirmed = undefined;
      const epoch = await this.#say(said);
      await this.#save();
      return epoch;
    }
    const waiting = this.#unconfirmed;
    const former = waiting?.former ?? this.#held();
    const formerEndsAt = waiting === undefined ? this.#monotonic(former.expiresAtMs) : this.#formerEndsAt;
    const unconfirmed = { former, tentative: { level, reason }, untilMs: clock.now() + withinMs, withinMs };
    if (level > former.level) await this.#saveFirst(unconfirmed);
    this.#unconfirmed = unconfirmed;
    this.#formerEndsAt = formerEndsAt;
    this.#wait(withinMs);
    const epoch = await this.#say(said);
    if (level <= former.level) await this.#save();
    return epoch;
  }

  /**
   * @param meant the epoch of the statement that whoever confirms has seen
   * @throws ShellstreamError MALFORMED when nothing waits for it, or not any more; POSTURE_CHANGED when another
   * statement waits; INTERNAL when it stands for this run only
   */
  async confirm(meant: bigint): Promise<void> {
    const waiting = this.unconfirmed;
    if (waiting === undefined) throw new ShellstreamError('MALFORMED', 'nothing waits to be confirmed');
    if (waiting.epoch !== meant) {
      throw new ShellstreamError('POSTURE_CHANGED', `what waits to be confirmed is epoch ${waiting.epoch} now`);
    }
    this.#word += 1;
    this.#timer?.cancel();
    this.#unconfirmed = undefined;
    try {
      await this.#keep(undefined);
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', 'it stands, but a restart would take it back: say it again', { cause });
    }
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  /** Resolves to its epoch, when everything follows it. */
  async #say({ level, reason, forMs }: Said): Promise<bigint> {
    const acted = this.#parts.posture.state(CONSOLE, level, reason, forMs);
    // At once: another console may say something before everything follows.
    const epoch = this.#statedEpoch();
    await acted;
    return epoch;
  }

  #stated(): StatedSource | undefined {
    return this.#parts.posture.sources.find(({ source }) => source === CONSOLE);
  }

  #statedEpoch(): bigint {
    return this.#stated()?.epoch ?? 0n;
  }

  /** What the console says now, as far as it counts. */
  #held(): Unconfirmed['former'] {
    const held = this.#stated();
    if (held?.counts !== true) return WITHDRAWN;
    const { level, reason, expiresAtMs } = held;
    return { level, reason, expiresAtMs };
  }

  #isStated({ tentative }: Unconfirmed): boolean {
    // Whether it counts or not: one that ran out still goes back to what was before.
    const stated = this.#stated();
    if (tentative === undefined || stated === undefined) return true;
    return stated.level === tentative.level && stated.reason === tentative.reason;
  }

  #wait(ms: number): void {
    const { clock, log } = this.#parts;
    this.#timer?.cancel();
    this.#timer = clock.after(ms, () => {
      this.#revert().catch((error: unknown) =>
        log.error('the console’s former level could not be restored', { error }),
      );
    });
  }

  async #revert(): Promise<void> {
    const { posture, clock, log } = this.#parts;
    const former = this.#unconfirmed?.former;
    if (former === undefined) return;
    this.#word += 1;
    this.#unconfirmed = undefined;
    const { level, reason } = former;
    log.warn('a level that was not confirmed is taken back', { to: level });
    const leftMs = this.#formerEndsAt === undefined ? undefined : this.#formerEndsAt - clock.monotonic();
    if (leftMs !== undefined && leftMs <= 0) await posture.state(CONSOLE, WITHDRAWN.level, WITHDRAWN.reason);
    else await posture.state(CONSOLE, level, reason, leftMs);
    await this.#save();
  }

  /** A loosening that a crash could not take back is refused, and what was said before it stands as it did. */
  async #saveFirst(unconfirmed: Unconfirmed): Promise<void> {
    const word = this.#word;
    try {
      await this.#keep(unconfirmed);
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', 'what it would go back to cannot be kept', { cause });
    }
    if (word !== this.#word) throw new ShellstreamError('INTERNAL', 'the console said something else meanwhile');
  }

  /** A disk that fails, or does not answer, holds no tightening up. */
  async #save(): Promise<void> {
    try {
      await this.#keep(this.#unconfirmed);
    } catch (error) {
      this.#parts.log.error('what waits for a confirmation could not be kept', { error });
    }
  }

  /** @throws what the disk says, or that it does not answer */
  #keep(unconfirmed: Unconfirmed | undefined): Promise<void> {
    const { store, clock } = this.#parts;
    const late = (): Error => new ShellstreamError('INTERNAL', `no answer of the disk in ${KEPT_MS} ms`);
    return inTime(clock, store.save(unconfirmed), KEPT_MS, late);
  }

  /** @param wallMs wall time, as the host's clock is now */
  #monotonic(wallMs: number | undefined): number | undefined {
    const { clock } = this.#parts;
    return wallMs === undefined ? undefined : clock.monotonic() + wallMs - clock.now();
  }
}
