/**
 * The posture of this node: what its sources say, the one level that follows, and the order in which a change of it
 * reaches everything (P8). Tightening goes from the data plane outwards, so that nothing forbidden passes while the
 * rest follows; relaxing goes the other way. A step that fails never stops a stricter one after it.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  counts,
  effectiveLevel,
  type PostureLevel,
  type Statements,
  setAside,
  state,
} from '../../protocol/posture/index.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { PostureReader } from '../enforcer/ports.ts';
import type { KeptPosture, PostureStore } from './store.ts';

/** One thing that follows the level. Idempotent; told the level that holds when it runs. */
export interface PostureStep {
  readonly name: string;
  apply(level: PostureLevel, epoch: bigint): Promise<void> | void;
}

/** Each list in the order of tightening. */
export interface PostureSteps {
  /** What packets go by. */
  readonly dataPlane: readonly PostureStep[];
  /** Told in the moment in which the level is published; whatever is decided after it is decided by it. */
  readonly admission: PostureStep;
  /** What lives by the level. */
  readonly sessionLayer: readonly PostureStep[];
}

export interface PostureChange {
  readonly from: PostureLevel;
  readonly to: PostureLevel;
  readonly epoch: bigint;
  readonly heldBy: readonly string[];
  readonly reason: string;
}

/** A transition whose steps have all been taken. */
export interface PostureSettled extends PostureChange {
  readonly seconds: number;
  /** Some step could not be taken; the log says which. */
  readonly failed: boolean;
}

/** What a source outside this node says, under an epoch of its own. */
export interface OutsideStatement {
  readonly source: string;
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly reason: string;
  /** Undefined: until the source says otherwise. */
  readonly forMs?: number | undefined;
}

/** `known`: the very statement that is held. `stale`: an earlier one, or another one under the same epoch. */
export type Heard = 'accepted' | 'known' | 'stale';

export interface StatedSource {
  readonly source: string;
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly sinceMs: number;
  readonly expiresAtMs: number | undefined;
  readonly reason: string;
  readonly governs: boolean;
  readonly counts: boolean;
}

export interface EngineParts {
  readonly clock: Clock;
  readonly log: Logger;
  /** Before anything was said. */
  readonly initial: PostureLevel;
  /** Wall time at the start; makes epochs of a restarted node higher than those its peers know. */
  readonly firstEpoch: bigint;
  /** What was said before this run. */
  readonly kept?: KeptPosture | undefined;
  readonly store: PostureStore;
}

const CONFIGURED = 'initial';
/** More than there can be between two writes of the record: a statement that runs out changes the level, and writes none. */
const UNWRITTEN_EPOCHS = 65_536n;

function later(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

export class PostureEngine implements PostureReader {
  readonly #parts: EngineParts;
  readonly #listeners = new Listeners<PostureSettled>();
  readonly #since = new Map<string, number>();
  #steps: PostureSteps = { dataPlane: [], admission: { name: 'admission', apply: () => undefined }, sessionLayer: [] };
  #statements: Statements;
  #level: PostureLevel;
  #epoch: bigint;
  #changedAt: number;
  #failures = 0;
  #running: Promise<void> = Promise.resolve();
  #isFollowing = false;
  #expiry: Timer | undefined;
  /** Wall time of monotonic zero, as it was at the start: a host clock that jumps hours ends no statement. */
  readonly #origin: number;

  constructor(parts: EngineParts) {
    const now = parts.clock.now();
    this.#parts = parts;
    this.#origin = now - parts.clock.monotonic();
    this.#statements = new Map(parts.kept?.statements);
    this.#epoch =
      parts.kept === undefined ? parts.firstEpoch : later(parts.firstEpoch, parts.kept.epoch + UNWRITTEN_EPOCHS);
    for (const source of this.#statements.keys()) this.#since.set(source, now);
    if (parts.initial !== 5) this.#state(CONFIGURED, parts.initial, 'configured');
    this.#level = effectiveLevel(this.#statements, now).level;
    this.#changedAt = now;
  }

  /** The level that admission and sessions go by. On tightening the data plane has it first. */
  get level(): PostureLevel {
    return this.#level;
  }

  get epoch(): bigint {
    return this.#epoch;
  }

  get sinceMs(): number {
    return this.#changedAt;
  }

  get sources(): readonly StatedSource[] {
    const now = this.#now();
    const { heldBy } = effectiveLevel(this.#statements, now);
    const wall = this.#statementsInWallTime();
    return [...this.#statements.values()].map((held) => {
      const { source, level, epoch, reason } = held.statement;
      return {
        source,
        level,
        epoch,
        sinceMs: this.#since.get(source) ?? now,
        expiresAtMs: wall.get(source)?.statement.expiresAt,
        reason: reason ?? '',
        governs: heldBy.includes(source),
        counts: counts(held, now),
      };
    });
  }

  /**
   * What follows a change. On tightening: `dataPlane` in order, then the level as admission reads it, then
   * `sessionLayer` in order. On relaxing admission reads it first, then both go backwards, so that the data plane is
   * last to open. Applied once at the start, so that they agree.
   */
  async start(steps: PostureSteps): Promise<void> {
    this.#steps = steps;
    // A source may have spoken before: what follows that knows no step yet.
    while (this.#isFollowing) await this.#running;
    await this.#follow({ startsWithAll: true });
  }

  /**
   * A source says its level. Resolves when everything follows it, and it is on disk. A disk that fails holds nothing
   * up: what was said acts all the same, and the log says that a restart will not know it.
   */
  async state(source: string, level: PostureLevel, reason: string, forMs?: number): Promise<void> {
    this.#state(source, level, reason, forMs);
    await Promise.all([this.#follow(), this.#save()]);
  }

  /** As `state`, for a source that counts its own epochs: what is not above the last one changes nothing. */
  async hear(said: OutsideStatement): Promise<Heard> {
    const held = this.#statements.get(said.source)?.statement;
    if (held !== undefined && said.epoch === held.epoch && said.level === held.level) return 'known';
    if (!this.#accept(said)) return 'stale';
    await Promise.all([this.#follow(), this.#save()]);
    return 'accepted';
  }

  /**
   * What a source has said so far does not count any more; its next statement does. Resolves as `state` does.
   * @throws ShellstreamError MALFORMED for a source that never said anything
   */
  async setAside(source: string): Promise<void> {
    const held = this.#statements.get(source);
    const aside = setAside(this.#statements, source, held?.statement.epoch ?? 0n);
    if (aside.kind !== 'set-aside') throw new ShellstreamError('MALFORMED', `no source ${source} says anything`);
    this.#statements = aside.statements;
    await Promise.all([this.#follow(), this.#save()]);
  }

  onChange(listener: (change: PostureSettled) => void): Disposable {
    return this.#listeners.add(listener);
  }

  #state(source: string, level: PostureLevel, reason: string, forMs?: number): void {
    const epoch = later(this.#parts.firstEpoch, this.#statements.get(source)?.statement.epoch ?? 0n) + 1n;
    if (!this.#accept({ source, level, epoch, reason, forMs })) {
      throw new ShellstreamError('INTERNAL', `a stale statement of ${source}`);
    }
  }

  #accept({ forMs, ...said }: OutsideStatement): boolean {
    const expiresAt = forMs === undefined ? undefined : this.#now() + forMs;
    const stated = state(this.#statements, { ...said, ...(expiresAt === undefined ? {} : { expiresAt }) });
    if (stated.kind === 'stale') return false;
    this.#statements = stated.statements;
    this.#since.set(said.source, this.#parts.clock.now());
    return true;
  }

  /** Wall time without its jumps: expiries are in it. */
  #now(): number {
    return this.#origin + this.#parts.clock.monotonic();
  }

  /** As another run, or a reader, takes them: by the host's clock as it is now. */
  #statementsInWallTime(): Statements {
    const skew = this.#parts.clock.now() - this.#now();
    return new Map(
      [...this.#statements].map(([source, held]) => {
        const { expiresAt } = held.statement;
        if (expiresAt === undefined) return [source, held];
        return [source, { ...held, statement: { ...held.statement, expiresAt: Math.round(expiresAt + skew) } }];
      }),
    );
  }

  async #save(): Promise<void> {
    const { store, log } = this.#parts;
    // The configuration says its own again at each start.
    const statements = new Map([...this.#statementsInWallTime()].filter(([source]) => source !== CONFIGURED));
    try {
      await store.save({ statements, epoch: this.#epoch });
    } catch (error) {
      log.error('the posture could not be kept: a restart will not know it', { error });
    }
  }

  /** One transition at a time; whatever is said meanwhile is looked at when it is done. */
  #follow(options = { startsWithAll: false }): Promise<void> {
    if (this.#isFollowing) return this.#running;
    this.#isFollowing = true;
    this.#running = this.#transitions(options);
    return this.#running;
  }

  async #transitions({ startsWithAll }: { readonly startsWithAll: boolean }): Promise<void> {
    try {
      if (startsWithAll) {
        const now = { to: this.#level, epoch: this.#epoch };
        const { dataPlane, admission, sessionLayer } = this.#steps;
        for (const step of [...dataPlane, admission, ...sessionLayer]) await this.#run(step, now);
      }
      for (;;) {
        const { level, heldBy, nextExpiry } = effectiveLevel(this.#statements, this.#now());
        if (level === this.#level) {
          this.#watchExpiry(nextExpiry);
          return;
        }
        await this.#transition(level, heldBy);
      }
    } finally {
      // In the same turn as the last look: a statement between the two would be followed by nobody.
      this.#isFollowing = false;
    }
  }

  async #transition(to: PostureLevel, heldBy: readonly string[]): Promise<void> {
    const from = this.#level;
    const change: PostureChange = { from, to, epoch: this.#epoch + 1n, heldBy, reason: this.#reasonOf(heldBy) };
    const started = this.#parts.clock.monotonic();
    const failuresBefore = this.#failures;
    const { dataPlane, sessionLayer } = this.#steps;
    if (to < from) {
      for (const step of dataPlane) await this.#run(step, change);
      await this.#publish(change);
      for (const step of sessionLayer) await this.#run(step, change);
    } else {
      await this.#publish(change);
      for (const step of sessionLayer.toReversed()) await this.#run(step, change);
      for (const step of dataPlane.toReversed()) await this.#run(step, change);
    }
    const ms = this.#parts.clock.monotonic() - started;
    const { epoch, reason } = change;
    this.#parts.log.warn('posture changed', { from, to, epoch: String(epoch), heldBy, reason, ms });
    this.#listeners.tell({ ...change, seconds: ms / 1000, failed: this.#failures > failuresBefore });
  }

  async #publish(change: PostureChange): Promise<void> {
    this.#level = change.to;
    this.#epoch = change.epoch;
    this.#changedAt = this.#parts.clock.now();
    await this.#run(this.#steps.admission, change);
  }

  async #run(step: PostureStep, { to, epoch }: Pick<PostureChange, 'to' | 'epoch'>): Promise<void> {
    try {
      await step.apply(to, epoch);
    } catch (error) {
      this.#failures += 1;
      this.#parts.log.error('posture step failed', { step: step.name, level: to, error });
    }
  }

  #reasonOf(heldBy: readonly string[]): string {
    return (
      heldBy.map((source) => this.#statements.get(source)?.statement.reason ?? '').find((text) => text !== '') ?? ''
    );
  }

  #watchExpiry(at: number | undefined): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (at === undefined) return;
    const { clock, log } = this.#parts;
    this.#expiry = clock.after(at - this.#now(), () => {
      this.#follow().catch((error: unknown) => log.error('posture did not follow an expiry', { error }));
    });
  }
}
