/**
 * What the console says, and takes back by itself unless it is confirmed: who cuts off the way by which he came, or opens
 * too much and loses sight of it, need not be there to mend it. What it goes back to is on disk before the tentative
 * level acts.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { StatedSource } from './engine.ts';

export interface Said {
  readonly level: PostureLevel;
  readonly reason: string;
  /** Undefined: until the console says otherwise. */
  readonly forMs?: number | undefined;
}

/** A level that waits for its confirmation. Times are wall time, milliseconds. */
export interface Unconfirmed {
  readonly former: { readonly level: PostureLevel; readonly reason: string; readonly expiresAtMs?: number | undefined };
  readonly untilMs: number;
  readonly withinMs: number;
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
const WITHDRAWN: Unconfirmed['former'] = { level: 5, reason: 'the console says nothing' };

export class ConsoleStatements implements Disposable {
  readonly #parts: ConsoleParts;
  #unconfirmed: Unconfirmed | undefined;
  #timer: Timer | undefined;

  constructor(parts: ConsoleParts) {
    this.#parts = parts;
  }

  /** A run that died may have been what the confirmation was for: what it loosened goes back, what it tightened waits. */
  async resume(): Promise<void> {
    const { store, clock } = this.#parts;
    const { kept } = store;
    if (kept === undefined) return;
    this.#unconfirmed = kept;
    if (this.#held().level >= kept.former.level) return await this.#revert();
    this.#wait(Math.min(kept.untilMs - clock.now(), kept.withinMs));
  }

  get unconfirmed(): Unconfirmed | undefined {
    return this.#unconfirmed;
  }

  /** @param withinMs goes back after this time unless `confirm` was called; undefined: it stands at once */
  async set({ level, reason, forMs }: Said, withinMs?: number): Promise<void> {
    const { posture, clock } = this.#parts;
    this.#timer?.cancel();
    if (withinMs === undefined) {
      this.#unconfirmed = undefined;
      await posture.state(CONSOLE, level, reason, forMs);
      return await this.#save();
    }
    const former = this.#unconfirmed?.former ?? this.#held();
    this.#unconfirmed = { former, untilMs: clock.now() + withinMs, withinMs };
    await this.#save(level > former.level);
    this.#wait(withinMs);
    await posture.state(CONSOLE, level, reason, forMs);
  }

  /** @throws ShellstreamError MALFORMED when nothing waits for it, or not any more */
  async confirm(): Promise<void> {
    if (this.#unconfirmed === undefined) throw new ShellstreamError('MALFORMED', 'nothing waits to be confirmed');
    this.#timer?.cancel();
    this.#unconfirmed = undefined;
    await this.#save();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  /** What the console says now, as far as it counts. */
  #held(): Unconfirmed['former'] {
    const held = this.#parts.posture.sources.find(({ source }) => source === CONSOLE);
    if (held?.counts !== true) return WITHDRAWN;
    const { level, reason, expiresAtMs } = held;
    return { level, reason, expiresAtMs };
  }

  #wait(ms: number): void {
    const { clock, log } = this.#parts;
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
    this.#unconfirmed = undefined;
    const { level, reason, expiresAtMs } = former;
    log.warn('a level that was not confirmed is taken back', { to: level });
    const leftMs = expiresAtMs === undefined ? undefined : expiresAtMs - clock.now();
    if (leftMs !== undefined && leftMs <= 0) await posture.state(CONSOLE, WITHDRAWN.level, WITHDRAWN.reason);
    else await posture.state(CONSOLE, level, reason, leftMs);
    await this.#save();
  }

  /** A disk that fails holds no tightening up. A loosening that a crash could not take back is refused. */
  async #save(isLoosening = false): Promise<void> {
    const { store, log } = this.#parts;
    try {
      await store.save(this.#unconfirmed);
    } catch (cause) {
      if (!isLoosening) return log.error('what waits for a confirmation could not be kept', { error: cause });
      this.#unconfirmed = undefined;
      throw new ShellstreamError('INTERNAL', 'what it would go back to cannot be kept', { cause });
    }
  }
}
