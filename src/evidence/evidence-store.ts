/**
 * The evidence of one node, kept through whatever the disk does. Keys, then spool, then the published log, then the recorder;
 * when the spool fails nothing is recorded, so nothing that needs evidence is done, and it is opened again by itself.
 * The console works all the while.
 */
import { join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatVerifierKey, type NoteSigner } from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Timer } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { BackedUp } from './backup.ts';
import { CommitPace } from './commit-pace.ts';
import { nodeEd25519 } from './ed25519.ts';
import type { EvidencePlace, EvidenceState } from './evidence-place.ts';
import { KeptFiles } from './kept-files.ts';
import { openSpool, witnessesOf } from './opening.ts';
import { Publisher } from './publisher.ts';
import { Publishing } from './publishing.ts';
import { compensate } from './reconcile.ts';
import {
  type Moment,
  momentOf,
  type Recorded,
  Recorder,
  type RecorderParts,
  type Recording,
  type Seal,
} from './recorder.ts';
import type { RotationStep } from './rotation.ts';
import type { Spool } from './spool.ts';
import type { OpenIntent, SpoolReader } from './spool-reader.ts';
import { Tending } from './tending.ts';
import { Upkeep } from './upkeep.ts';
import type { Witnesses } from './witnesses.ts';

export interface EvidenceStoreParts extends Pick<RecorderParts, 'clock' | 'notarisation' | 'posture'> {
  readonly place: EvidencePlace;
  readonly crypto: CryptoProvider;
  readonly log: Logger;
  /** What an intent speaks of is still there, and its outcome is to come. */
  readonly isLive: (intent: OpenIntent) => boolean;
}

interface Opened {
  readonly signers: readonly NoteSigner[];
  readonly spool: Spool;
  readonly publisher: Publisher;
  readonly recorder: Recorder;
  readonly files: KeptFiles;
}

export class EvidenceStore implements AsyncDisposable {
  readonly #parts: EvidenceStoreParts;
  readonly #durable = new Listeners<void>();
  /** Outlives the spool's openings: who contradicted us is not asked again at once. */
  readonly #witnesses: Witnesses | undefined;
  #opened: Opened | undefined;
  #problem: string | undefined;
  readonly #publishing: Publishing;
  readonly #upkeep: Upkeep;
  readonly #pace: CommitPace;
  readonly #tending: Tending;
  #timer: Timer | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #reopening: Promise<void> | undefined;
  #isClosed = false;

  /** Opens, or begins to try: a disk that fails keeps nobody from the console. */
  static async open(parts: EvidenceStoreParts): Promise<EvidenceStore> {
    const store = new EvidenceStore(parts);
    await store.#open();
    store.#waitForUpkeep();
    return store;
  }

  private constructor(parts: EvidenceStoreParts) {
    this.#parts = parts;
    const { place, clock, crypto, log, posture, notarisation } = parts;
    this.#pace = new CommitPace(clock);
    this.#upkeep = new Upkeep(parts);
    this.#publishing = new Publishing({
      clock,
      log,
      isUrgent: () => notarisation(posture().level).anchoring !== 'batched',
      onRolledBack: (error) => this.#fail(error),
    });
    this.#tending = new Tending({
      place,
      crypto,
      log,
      logPath: this.logPath,
      opened: () => this.#recording,
      reopen: (between) => this.#reopen(between),
      verifierKeys: () => this.#state().verifierKeys,
    });
    this.#witnesses = witnessesOf(place, crypto, clock);
  }

  /** Of the published log. */
  get logPath(): string {
    return join(this.#parts.place.directory, 'log');
  }

  /** Undefined while the spool is not open. */
  get reader(): SpoolReader | undefined {
    return this.#opened?.spool.reader;
  }

  /** For who forwards what it holds; another one after an error of the disk. Undefined while it is not open. */
  get spool(): Spool | undefined {
    return this.#opened?.spool;
  }

  /** While the keys change: what is to be recorded waits. */
  get isReopening(): boolean {
    return this.#reopening !== undefined;
  }

  /** More became durable. */
  onDurable(listener: () => void): Disposable {
    return this.#durable.add(listener);
  }

  /** Size of the published log. */
  get published(): number {
    return this.#opened?.publisher.published ?? 0;
  }

  get state(): EvidenceState {
    try {
      return this.#state();
    } catch (error) {
      this.#fail(error);
      return this.#state();
    }
  }

  #state(): EvidenceState {
    const { place } = this.#parts;
    const { spool, publisher, signers = [] } = this.#opened ?? {};
    return {
      origin: place.origin,
      verifierKeys: signers.map(formatVerifierKey),
      problem: this.#problem,
      publishProblem: this.#publishing.problem,
      entries: spool?.size ?? 0,
      firstEntry: spool?.reader.firstEntry() ?? 0,
      published: publisher?.published ?? 0,
      leftOut: spool?.counters.leftOut ?? 0,
      openIntents: spool?.reader.openIntents().length ?? 0,
      room: spool?.room ?? { usedBytes: 0, budgetBytes: place.budgetBytes, isFull: false, isReserveHeld: false },
      quorum: this.#witnesses?.quorum ?? 0,
      witnesses: this.#witnesses?.states ?? [],
      slowestCommitMs: this.#pace.slowestMs,
      retentionHeld: this.#upkeep.held,
    };
  }

  /** Milliseconds since the epoch, as far as they were seen to pass: for who else gives things up with time. */
  passedNow(): number {
    return this.#upkeep.now();
  }

  /** An operator says that the clock is right, however far it jumped. @throws ShellstreamError EVIDENCE_FAILED */
  async trustClock(): Promise<void> {
    await this.#tending.alone(async ({ spool }) => this.#upkeep.trustClock(spool));
    this.#parts.log.warn('the clock is trusted by the console: what is due by it is forgotten', {});
  }

  /** For `record`, of something that is recorded later. */
  moment(): Moment {
    return momentOf(this.#parts);
  }

  /** Resolves when it is durable; see {@link Recorder.record}. @throws ShellstreamError EVIDENCE_FULL or EVIDENCE_FAILED */
  async record(body: Recording, at?: Moment): Promise<Recorded> {
    if (this.#reopening !== undefined) await this.#reopening;
    return await this.#recording.recorder.record(body, at);
  }

  /** Several that are one; see {@link Recorder.recordAll}. */
  async recordAll(bodies: readonly Recording[], seal?: Seal): Promise<readonly Recorded[]> {
    if (this.#reopening !== undefined) await this.#reopening;
    return await this.#recording.recorder.recordAll(bodies, seal);
  }

  /** When the kernel holds nothing of former runs but what `isLive` says: their open intents are compensated. */
  async reconcile(): Promise<void> {
    const { log, isLive } = this.#parts;
    if (this.#opened === undefined) return;
    const { recorder, spool } = this.#opened;
    try {
      const count = await compensate(recorder, spool.reader, 'CONNECTION_LOST', isLive);
      if (count > 0) log.warn('intents of a former run had no outcome', { count });
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Changes the log's key; see {@link Tending.rotateKey}. */
  async rotateKey(step: RotationStep): Promise<readonly string[]> {
    return await this.#tending.rotateKey(step);
  }

  /** See {@link Tending.backUp}. */
  async backUp(): Promise<BackedUp> {
    return await this.#tending.backUp(join(this.#parts.place.directory, 'backup'));
  }

  async #reopen(between: () => Promise<void>): Promise<void> {
    this.#reopening = this.#reopened(between);
    await this.#reopening;
  }

  async #reopened(between: () => Promise<void>): Promise<void> {
    try {
      await this.#publishing.settled();
      this.#close();
      await between();
      await this.#open();
    } finally {
      this.#reopening = undefined;
    }
  }

  /** Everything recorded is durable, and others can read it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#reopening;
    this.#timer?.cancel();
    await this.#keeping;
    this.#opened?.recorder.close();
    await this.#publishing.close();
    if (this.#opened !== undefined) this.#upkeep.keepMark(this.#opened.spool);
    this.#close();
    this.#problem = 'the gateway stops';
  }

  get #recording(): Opened {
    if (this.#opened !== undefined) return this.#opened;
    throw new ShellstreamError('EVIDENCE_FAILED', this.#problem);
  }

  async #open(): Promise<void> {
    const { place, crypto, log } = this.#parts;
    let spool: Spool | undefined;
    try {
      const opened = await openSpool(place, crypto, (commit) => this.#pace.time(commit));
      const { signers, path } = opened;
      spool = opened.spool;
      this.#upkeep.begin(spool);
      const asked = this.#witnesses === undefined ? {} : { witnesses: this.#witnesses };
      const shared = { sha256: crypto.sha256, ed25519: nodeEd25519, origin: place.origin };
      const publisher = await Publisher.open({ ...shared, ...asked, path: this.logPath, spool, keys: signers });
      // A log that was put back to an older state is found out before anything is recorded in it.
      if (this.#witnesses !== undefined) await this.#publishing.publish(publisher);
      const recorder = this.#record(spool);
      this.#opened = { signers, spool, publisher, recorder, files: new KeptFiles([path, `${path}-wal`]) };
      this.#publishing.take(publisher);
      this.#problem = undefined;
      this.#publishing.soon();
      log.info('evidence is recorded', { entries: spool.size, verifierKeys: signers.map(formatVerifierKey) });
    } catch (error) {
      spool?.[Symbol.dispose]();
      this.#fail(error);
    }
  }

  #record(spool: Spool): Recorder {
    const { clock, crypto, notarisation, posture } = this.#parts;
    return new Recorder({
      spool,
      clock,
      crypto,
      notarisation,
      posture,
      onDurable: () => {
        this.#publishing.soon();
        this.#durable.tell();
      },
      onFailed: (error) => this.#fail(error),
      limits: { batchMs: BATCH_MS, endsMs: ENDS_MS },
    });
  }

  /** From here on nothing is recorded, until it could be opened again. */
  #fail(error: unknown): void {
    this.#problem = error instanceof Error ? error.message : String(error);
    this.#parts.log.error('no evidence can be recorded: sessions are refused', { error });
    this.#close();
  }

  #close(): void {
    const opened = this.#opened;
    this.#opened = undefined;
    this.#publishing.take(undefined);
    opened?.recorder.close();
    opened?.spool[Symbol.dispose]();
  }

  // ── upkeep ─────────────────────────────────────────────────────────────────────────────────────────────────

  #waitForUpkeep(): void {
    this.#timer = this.#parts.clock.after(UPKEEP_MS, () => {
      this.#keeping = this.#keepUp().finally(() => {
        if (!this.#isClosed) this.#waitForUpkeep();
      });
    });
  }

  async #keepUp(): Promise<void> {
    if (this.#reopening !== undefined) return;
    if (this.#opened === undefined) {
      await this.#open();
      await this.reconcile();
      return;
    }
    try {
      const { spool, publisher, files } = this.#opened;
      files.check();
      spool.refillReserve();
      if (this.#publishing.problem !== undefined) this.#publishing.soon();
      await this.#upkeep.forgetWhatIsOld(spool, publisher, this.logPath);
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** A commit costs as much CPU as a fourth of a handshake: what comes in these milliseconds shares one. */
const BATCH_MS = 4;
const ENDS_MS = 50;
const UPKEEP_MS = 10_000;
