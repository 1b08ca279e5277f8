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
import { type Clock, sleep, type Timer } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { PostureReader } from '../enforcer/ports.ts';
import type { JournalRecord, PostureJournal } from './journal.ts';
import { type KeptPosture, later } from './kept.ts';
import { type PlannedStep, type PostureSteps, plan } from './plan.ts';
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
  /** Absent where a crash leaves nothing that could be gone on with. */
  readonly journal?: PostureJournal | undefined;
}

const CONFIGURED = 'initial';
/** More than there can be between two writes of the record: a statement that runs out changes the level, and writes none. */
const UNWRITTEN_EPOCHS = 65_536n;
/** A disk that does not answer holds a tightening up no longer than this. */
const JOURNAL_MS = 100;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

export class PostureEngine implements PostureReader {
  readonly #parts: EngineParts;
  readonly #listeners = new Listeners<PostureSettled>();
  readonly #since = new Map<string, number>();
  #steps: PostureSteps = { dataPlane: [], admission: { name: 'admission', apply: () => undefined }, sessionLayer: [] };
  #statements: Statements;
  #level: PostureLevel;
  #epoch: bigint;
  #changedAt: number;
  readonly #runner: StepRunner;
  #retry: Timer | undefined;
  #retryMs = FIRST_RETRY_MS;
  #isBrokenOff = false;
  /** Whether what was said last is kept; resolves when it is known. */
  #saved: Promise<boolean> = Promise.resolve(true);
  #running: Promise<void> = Promise.resolve();
  #isFollowing = false;
  #expiry: Timer | undefined;
  /** Wall time of monotonic zero, as it was at the start: a host clock that jumps hours ends no statement. */
  readonly #origin: number;

  constructor(parts: EngineParts) {
    const now = parts.clock.now();
    this.#parts = parts;
    this.#runner = new StepRunner(parts.clock, parts.log);
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

  /** What of the level could not be realised so far, by name. */
  get unrealised(): readonly string[] {
    return this.#runner.unrealised.map(({ name }) => name);
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

  /** The configuration says its own again at each start. */
  #toKeep(): Statements {
    return new Map([...this.#statementsInWallTime()].filter(([source]) => source !== CONFIGURED));
  }

  /** False also when the disk does not answer. */
  async #isSaved(): Promise<boolean> {
    const over = new AbortController();
    const late = sleep(this.#parts.clock, JOURNAL_MS, over.signal).then(() => false);
    const isSaved = await Promise.race([this.#saved, late]);
    over.abort();
    return isSaved;
  }

  #save(): Promise<boolean> {
    this.#saved = this.#tryToSave();
    return this.#saved;
  }

  async #tryToSave(): Promise<boolean> {
    const { store, log } = this.#parts;
    try {
      await store.save({ statements: this.#toKeep(), epoch: this.#epoch });
      return true;
    } catch (error) {
      log.error('the posture could not be kept: a restart will not know it', { error });
      return false;
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
      if (startsWithAll) await this.#takeAll();
      for (;;) {
        const { level, heldBy, nextExpiry } = effectiveLevel(this.#statements, this.#now());
        if (level !== this.#level) await this.#transition(level, heldBy);
        else if (this.#isBrokenOff) await this.#takeAll();
        else {
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

  /** At the level that is published already. */
  async #takeAll(): Promise<void> {
    this.#isBrokenOff = false;
    for (const { step } of plan(this.#level, this.#level, this.#steps)) {
      if (this.#isSuperseded(this.#level)) return;
      await this.#take(step);
    }
    await this.#settled();
  }

  async #transition(to: PostureLevel, heldBy: readonly string[]): Promise<void> {
    const from = this.#level;
    const change: PostureChange = { from, to, epoch: this.#epoch + 1n, heldBy, reason: this.#reasonOf(heldBy) };
    const started = this.#parts.clock.monotonic();
    const steps = plan(from, to, this.#steps);
    await this.#write({ kind: 'intent', from, to, kept: { statements: this.#toKeep(), epoch: change.epoch } });
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
    return effectiveLevel(this.#statements, this.#now()).level < to;
  }

  #publish(change: PostureChange): void {
    this.#level = change.to;
    this.#epoch = change.epoch;
    this.#changedAt = this.#parts.clock.now();
  }

  async #take(step: PlannedStep['step'], { to, epoch } = { to: this.#level, epoch: this.#epoch }): Promise<void> {
    const isTaken = await this.#runner.take(step, to, epoch);
    void this.#write({ kind: 'step', epoch, step: step.name, outcome: isTaken ? 'taken' : 'failed' });
  }

  /** The journal tells a change until it is settled: not before that which it follows is kept. */
  async #settled(): Promise<void> {
    if (!(await this.#isSaved())) return;
    await this.#write({
      kind: 'settled',
      epoch: this.#epoch,
      level: this.#level,
      failed: this.#runner.unrealised.length > 0,
    });
  }

  /** Resolves when it is written, or the disk failed, or did not answer in time: it holds nothing up. */
  async #write(record: JournalRecord): Promise<void> {
    const { journal, clock, log } = this.#parts;
    if (journal === undefined) return;
    const over = new AbortController();
    const written = journal.write(record).then(
      () => over.abort(),
      (error: unknown) => {
        over.abort();
        log.error('the journal of the posture could not be written', { record: record.kind, error });
      },
    );
    await Promise.race([written, sleep(clock, JOURNAL_MS, over.signal)]);
  }

  /** Steps that could not be taken are taken again, in the order of a tightening, until they are. */
  #retryLater(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    if (this.#runner.unrealised.length === 0) {
      this.#retryMs = FIRST_RETRY_MS;
      return;
    }
    const { clock, log } = this.#parts;
    this.#retry = clock.after(this.#retryMs, () => {
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
      this.#tryAgain().catch((error: unknown) => log.error('posture steps were not tried again', { error }));
    });
  }

  async #tryAgain(): Promise<void> {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    this.#running = (async () => {
      try {
        const late = new Set(this.#runner.unrealised);
        for (const { step } of plan(this.#level, this.#level, this.#steps)) if (late.has(step)) await this.#take(step);
      } finally {
        this.#isFollowing = false;
      }
    })();
    await this.#running;
    await this.#follow();
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
