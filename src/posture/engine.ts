/**
 * The posture of this node: what its sources say, the one level that follows, and the order in which a change of it
 * reaches everything (P8). Tightening goes from the data plane outwards, so that nothing forbidden passes while the
 * rest follows; relaxing goes the other way. A step that fails never stops a stricter one after it.
 */
import type { EffectiveLevel, PostureLevel } from '../../protocol/posture/index.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { Precedence } from '../base/precedence.ts';
import type { PostureReader } from '../enforcer/ports.ts';
import type { PostureJournal } from './journal.ts';
import { Keeper } from './keeper.ts';
import { type KeptPosture, later } from './kept.ts';
import { type PostureStep, type PostureSteps, plan } from './plan.ts';
import { type OutsideStatement, SourceStatements, type StatedSource } from './source-statements.ts';
import { StepRunner } from './step-runner.ts';
import type { PostureStore } from './store.ts';

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
  /** Some step could not be taken. */
  readonly failed: boolean;
  /** The names of those. They are tried again until they are taken, or another level holds. */
  readonly unrealised: readonly string[];
}

/** `known`: the very statement that is held. `stale`: an earlier one, or another one under the same epoch. */
export type Heard = 'accepted' | 'known' | 'stale';

export interface EngineParts {
  readonly clock: Clock;
  readonly log: Logger;
  /** Before anything was said. */
  readonly initial: PostureLevel;
  /** Wall time at the start; makes epochs of a restarted node higher than those its peers know. */
  readonly firstEpoch: bigint;
  /** What was said before this run. */
  readonly kept?: KeptPosture | undefined;
  /** The stricter end of a change that a crash cut off; it holds until all was taken at it once. */
  readonly cutOffAt?: PostureLevel | undefined;
  readonly store: PostureStore;
  /** Absent where a crash leaves nothing that could be gone on with. */
  readonly journal?: PostureJournal | undefined;
  /** Taken for each change; absent where it may not be. */
  readonly precedence?: Pick<Precedence, 'take'> | undefined;
}

const CONFIGURED = 'initial';
/** More than there can be between two writes of the record: a statement that runs out changes the level, and writes none. */
const UNWRITTEN_EPOCHS = 65_536n;
/** What the overlay has for a change (P9). */
const LONGEST_PRECEDENCE_MS = 5_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** While some statement has an end: how often it is looked whether the host's clock was set, and by how much it may be. */
const CLOCK_LOOK_MS = 10_000;
const CLOCK_MOVED_MS = 1_000;

export class PostureEngine implements PostureReader, Disposable {
  readonly #parts: EngineParts;
  readonly #listeners = new Listeners<PostureSettled>();
  #steps: PostureSteps = { dataPlane: [], admission: { name: 'admission', apply: () => undefined }, sessionLayer: [] };
  readonly #statements: SourceStatements;
  #level: PostureLevel;
  #epoch: bigint;
  #changedAt: number;
  readonly #runner: StepRunner;
  readonly #keeper: Keeper;
  /** Until the start has taken everything. */
  #floor: PostureLevel | undefined;
  #retry: Timer | undefined;
  #retryMs = FIRST_RETRY_MS;
  #isBrokenOff = false;
  #isOver = false;
  #running: Promise<void> = Promise.resolve();
  #isFollowing = false;
  #followsSinceMs = 0;
  #expiry: Timer | undefined;
  /** Wall time less monotonic time, as the ends on disk are by. */
  #savedSkewMs: number;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#runner = new StepRunner({ ...parts, onWoken: () => this.#go('a late step') });
    this.#keeper = new Keeper(parts);
    this.#floor = parts.cutOffAt;
    this.#statements = new SourceStatements(parts);
    this.#epoch =
      parts.kept === undefined ? parts.firstEpoch : later(parts.firstEpoch, parts.kept.epoch + UNWRITTEN_EPOCHS);
    if (parts.initial !== 5) this.#statements.state(CONFIGURED, parts.initial, 'configured');
    this.#level = this.#aim().level;
    this.#changedAt = parts.clock.now();
    this.#savedSkewMs = this.#statements.skewMs;
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

  /** Since when, in monotonic milliseconds, transitions are under way, or steps are taken again; undefined: none is. */
  get changingSinceMs(): number | undefined {
    return this.#isFollowing ? this.#followsSinceMs : undefined;
  }

  get sources(): readonly StatedSource[] {
    return this.#statements.all(this.#aim().heldBy);
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
    await this.#follow('everything');
  }

  /** What of the level could not be realised so far, by name. */
  get unrealised(): readonly string[] {
    return this.#runner.unrealised.map(({ name }) => name);
  }

  /** What is not as it should be, or would not be after a restart, one sentence each. */
  get problems(): readonly string[] {
    const steps = this.unrealised.map((name) => `level ${this.#level} has not reached: ${name}; it is tried again`);
    return [...steps, ...this.#keeper.problems];
  }

  /**
   * A source says its level. Resolves when everything follows it, and it is on disk. A disk that fails holds nothing
   * up: what was said acts all the same, and the log says that a restart will not know it.
   */
  async state(source: string, level: PostureLevel, reason: string, forMs?: number): Promise<void> {
    this.#statements.state(source, level, reason, forMs);
    await Promise.all([this.#follow(), this.#save()]);
  }

  /** As `state`, for a source that counts its own epochs: what is not above the last one changes nothing. */
  async hear(said: OutsideStatement): Promise<Heard> {
    const held = this.#statements.of(said.source);
    if (held !== undefined && said.epoch === held.epoch && said.level === held.level) return 'known';
    if (!this.#statements.accept(said)) return 'stale';
    await Promise.all([this.#follow(), this.#save()]);
    return 'accepted';
  }

  /**
   * What a source has said so far does not count any more; its next statement does. Resolves as `state` does.
   * @param meant the epoch of the statement that whoever asks has seen; absent: whatever it said last
   * @throws ShellstreamError MALFORMED for a source that never said anything; POSTURE_CHANGED when it said another one
   */
  async setAside(source: string, meant?: bigint): Promise<void> {
    this.#statements.setAside(source, meant);
    await Promise.all([this.#follow(), this.#save()]);
  }

  onChange(listener: (change: PostureSettled) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** From here on nothing happens by itself: no expiry, no further try. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#expiry?.cancel();
    this.#retry?.cancel();
    this.#keeper[Symbol.dispose]();
  }

  /** The configuration says its own again at each start. */
  #kept(epoch: bigint): KeptPosture {
    const statements = new Map([...this.#statements.inWallTime()].filter(([source]) => source !== CONFIGURED));
    return { statements, epoch };
  }

  #save(): Promise<void> {
    this.#savedSkewMs = this.#statements.skewMs;
    return this.#keeper.save(this.#kept(this.#epoch));
  }

  /** The level that must be reached, and who says so. */
  #aim(): EffectiveLevel {
    const said = this.#statements.effective();
    if (this.#floor === undefined || said.level <= this.#floor) return said;
    return { ...said, level: this.#floor, heldBy: [] };
  }

  /** One transition at a time; whatever is said meanwhile is looked at when it is done. */
  #follow(first?: 'everything' | 'unrealised'): Promise<void> {
    if (this.#isFollowing) return this.#running;
    this.#isFollowing = true;
    this.#followsSinceMs = this.#parts.clock.monotonic();
    this.#running = this.#transitions(first);
    return this.#running;
  }

  /** As `follow`, where nobody waits for it. */
  #go(why: string, first?: 'unrealised'): void {
    this.#follow(first).catch((error: unknown) => {
      this.#parts.log.error('the posture could not be followed', { why, error });
    });
  }

  async #transitions(first: 'everything' | 'unrealised' | undefined): Promise<void> {
    try {
      if (first === 'everything') {
        await this.#ahead(() => this.#takeAll());
        this.#floor = undefined;
      }
      if (first === 'unrealised') await this.#takeAgain(this.#runner.unrealised);
      for (;;) {
        const { level, heldBy, nextExpiry } = this.#aim();
        if (level !== this.#level) await this.#ahead(() => this.#transition(level, heldBy));
        else if (this.#isBrokenOff) await this.#ahead(() => this.#takeAll());
        else if (this.#runner.woken.length > 0) await this.#takeAgain(this.#runner.woken);
        else {
          if (this.#isOver) return;
          this.#watchExpiry(nextExpiry);
          this.#retryLater();
          return;
        }
      }
    } finally {
      // In the same turn as the last look: a statement between the two would be followed by nobody.
      this.#isFollowing = false;
    }
  }

  /** With precedence at the cores, as long as it may take (P9): a step that hangs does not keep it. */
  async #ahead(work: () => Promise<void>): Promise<void> {
    const { clock, precedence } = this.#parts;
    if (precedence === undefined) return await work();
    const taken = precedence.take();
    const late = clock.after(LONGEST_PRECEDENCE_MS, () => taken[Symbol.dispose]());
    try {
      await work();
    } finally {
      late.cancel();
      taken[Symbol.dispose]();
    }
  }

  /** At the level that is published already. */
  async #takeAll(): Promise<void> {
    const level = this.#level;
    this.#isBrokenOff = false;
    await this.#keeper.write({ kind: 'intent', from: level, to: level, kept: this.#kept(this.#epoch) });
    if (await this.#takeAgain(plan(level, level, this.#steps).map(({ step }) => step))) await this.#settled();
  }

  /** In the order of a tightening. Whether all of them had their turn. */
  async #takeAgain(some: readonly PostureStep[]): Promise<boolean> {
    for (const { step } of plan(this.#level, this.#level, this.#steps)) {
      if (this.#isSuperseded(this.#level)) {
        this.#isBrokenOff = true;
        return false;
      }
      if (some.includes(step)) await this.#take(step);
    }
    return true;
  }

  async #transition(to: PostureLevel, heldBy: readonly string[]): Promise<void> {
    const from = this.#level;
    const change: PostureChange = {
      from,
      to,
      epoch: this.#epoch + 1n,
      heldBy,
      reason: this.#statements.reasonOf(heldBy),
    };
    const started = this.#parts.clock.monotonic();
    const steps = plan(from, to, this.#steps);
    await this.#keeper.write({ kind: 'intent', from, to, kept: this.#kept(change.epoch) });
    let left = steps.length;
    this.#isBrokenOff = false;
    for (const { step, publishes } of steps) {
      // What is stricter waits for nothing that is looser; the next transition takes all of its own steps.
      if (this.#isSuperseded(to)) {
        // Though the next look may find the level of before: what has been done of this one is to be done anew.
        this.#isBrokenOff = true;
        break;
      }
      if (publishes) this.#publish(change);
      await this.#take(step, change);
      left -= 1;
    }
    if (this.#epoch !== change.epoch) return;
    if (left === 0) await this.#settled();
    const ms = this.#parts.clock.monotonic() - started;
    const { epoch, reason } = change;
    const untaken = left === 0 ? [] : steps.slice(-left).map(({ step }) => step.name);
    const unrealised = [...this.unrealised, ...untaken];
    this.#parts.log.warn('posture changed', { from, to, epoch: String(epoch), heldBy, reason, ms, unrealised });
    this.#listeners.tell({ ...change, seconds: ms / 1000, failed: unrealised.length > 0, unrealised });
  }

  #isSuperseded(to: PostureLevel): boolean {
    return this.#aim().level < to;
  }

  #publish(change: PostureChange): void {
    this.#level = change.to;
    this.#epoch = change.epoch;
    this.#changedAt = this.#parts.clock.now();
  }

  async #take(step: PostureStep, { to, epoch } = { to: this.#level, epoch: this.#epoch }): Promise<void> {
    const isTaken = await this.#runner.take(step, to, epoch);
    void this.#keeper.write({ kind: 'step', epoch, step: step.name, outcome: isTaken ? 'taken' : 'failed' });
  }

  #settled(): Promise<void> {
    const failed = this.#runner.unrealised.length > 0;
    return this.#keeper.write({ kind: 'settled', epoch: this.#epoch, level: this.#level, failed });
  }

  /** Steps that could not be taken are taken again until they are. A word that changes nothing does not put that off. */
  #retryLater(): void {
    if (this.#runner.unrealised.length === 0) {
      this.#retry?.cancel();
      this.#retry = undefined;
      this.#retryMs = FIRST_RETRY_MS;
      return;
    }
    this.#retry ??= this.#parts.clock.after(this.#retryMs, () => {
      this.#retry = undefined;
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
      this.#go('a retry', 'unrealised');
    });
  }

  #watchExpiry(at: number | undefined): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (at === undefined) return;
    const delayMs = Math.min(at - this.#statements.now, CLOCK_LOOK_MS);
    this.#expiry = this.#parts.clock.after(delayMs, () => {
      // The next run takes the ends on disk by the clock as it finds it.
      if (Math.abs(this.#statements.skewMs - this.#savedSkewMs) > CLOCK_MOVED_MS) void this.#save();
      this.#go('an expiry');
    });
  }
}
