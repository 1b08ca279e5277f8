/**
 * The evidence of one node, kept through whatever the disk does. Keys, then spool, then the published log, then the recorder;
 * when the spool fails nothing is recorded, so nothing that needs evidence is done, and it is opened again by itself.
 * The console works all the while.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { dayOf, formatVerifierKey, type NoteKey, type NoteSigner } from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Timer } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import { type BackedUp, backUp } from './backup.ts';
import { nodeEd25519 } from './ed25519.ts';
import { createLogKey, loadLogKeys } from './keys.ts';
import { LogDirectory } from './log-directory.ts';
import { Publisher } from './publisher.ts';
import { compensate } from './reconcile.ts';
import { type Recorded, Recorder, type RecorderParts, type Recording, type Seal } from './recorder.ts';
import { forgetLeftOut, forgetOlderThan, minimumIndexAt, pruneLog } from './retention.ts';
import { adoptNextKey, makeNextKey, provenNextKey, type RotationStep, signingKeys } from './rotation.ts';
import { Spool } from './spool.ts';
import type { SpoolRoom } from './spool-items.ts';
import type { OpenIntent, SpoolReader } from './spool-reader.ts';
import { witnessAt } from './witness-http.ts';
import { Witnesses, type WitnessState } from './witnesses.ts';

/** Where evidence is kept, and how much of it. */
export interface EvidencePlace {
  /** Made for its user alone: `spool/` and `log/` are in it. */
  readonly directory: string;
  /** Name of the log; its checkpoints bear it. */
  readonly origin: string;
  /** Files of the signing keys, first the current one. One that is missing is made with a spool that is new. */
  readonly keys: readonly string[];
  readonly budgetBytes: number;
  readonly retentionDays: number;
  /** After which entries and tiles go too; absent: never. */
  readonly logDays?: number;
  /** Who cosigns what is published; absent: nobody is asked. */
  readonly witnesses?: WitnessPlaces;
}

export interface WitnessPlaces {
  /** Cosignatures without which nothing is published. */
  readonly quorum: number;
  /** For one answer. */
  readonly timeoutMs: number;
  readonly ask: readonly { readonly url: string; readonly key: NoteKey }[];
}

export interface EvidenceStoreParts extends Pick<RecorderParts, 'clock' | 'notarisation' | 'posture'> {
  readonly place: EvidencePlace;
  readonly crypto: CryptoProvider;
  readonly log: Logger;
  /** What an intent speaks of is still there, and its outcome is to come. */
  readonly isLive: (intent: OpenIntent) => boolean;
}

export interface EvidenceState {
  readonly origin: string;
  /** As outsiders are told them; empty while none could be read. */
  readonly verifierKeys: readonly string[];
  /** Why nothing is recorded; undefined: it is. */
  readonly problem: string | undefined;
  /** Why others do not see the newest entries yet; undefined: they do, or will in a moment. */
  readonly publishProblem: string | undefined;
  readonly entries: number;
  /** Index of the oldest that was not pruned. */
  readonly firstEntry: number;
  readonly published: number;
  readonly leftOut: number;
  readonly openIntents: number;
  readonly room: SpoolRoom;
  readonly quorum: number;
  readonly witnesses: readonly WitnessState[];
}

interface Opened {
  readonly signers: readonly NoteSigner[];
  readonly spool: Spool;
  readonly publisher: Publisher;
  readonly recorder: Recorder;
}

export class EvidenceStore implements AsyncDisposable {
  readonly #parts: EvidenceStoreParts;
  readonly #durable = new Listeners<void>();
  /** Outlives the spool's openings: who contradicted us is not asked again at once. */
  readonly #witnesses: Witnesses | undefined;
  #opened: Opened | undefined;
  #problem: string | undefined;
  #publishProblem: string | undefined;
  #publishing: Timer | undefined;
  #publishes: Promise<void> = Promise.resolve();
  #upkeep: Timer | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #lastRetention = Number.NEGATIVE_INFINITY;
  /** While the keys change: what is to be recorded waits. */
  #reopening: Promise<void> | undefined;
  #isTended = false;
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
    const { place, clock, crypto } = parts;
    if (place.witnesses === undefined) return;
    const { quorum, timeoutMs, ask } = place.witnesses;
    const all = ask.map(({ key, url }) => ({ key, ask: witnessAt(url, timeoutMs, clock) }));
    this.#witnesses = new Witnesses({ sha256: crypto.sha256, ed25519: nodeEd25519, clock, quorum, all });
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
      publishProblem: this.#publishProblem,
      entries: spool?.size ?? 0,
      firstEntry: spool?.reader.firstEntry() ?? 0,
      published: publisher?.published ?? 0,
      leftOut: spool?.counters.leftOut ?? 0,
      openIntents: spool?.reader.openIntents().length ?? 0,
      room: spool?.room ?? { usedBytes: 0, budgetBytes: place.budgetBytes, isFull: false, isReserveHeld: false },
      quorum: this.#witnesses?.quorum ?? 0,
      witnesses: this.#witnesses?.states ?? [],
    };
  }

  /** Resolves when it is durable. @throws ShellstreamError EVIDENCE_FULL or EVIDENCE_FAILED */
  async record(body: Recording): Promise<Recorded> {
    if (this.#reopening !== undefined) await this.#reopening;
    return await this.#recorder.record(body);
  }

  /** Several that are one; see {@link Recorder.recordAll}. */
  async recordAll(bodies: readonly Recording[], seal?: Seal): Promise<readonly Recorded[]> {
    if (this.#reopening !== undefined) await this.#reopening;
    return await this.#recorder.recordAll(bodies, seal);
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

  /** Changes the log's key; see `rotation.ts`. Returns the verifier keys by which the log is known from then on. */
  async rotateKey(step: RotationStep): Promise<readonly string[]> {
    const { place, crypto, log } = this.#parts;
    return await this.#tended(async ({ publisher }) => {
      if (step === 'begin') await makeNextKey(place, crypto);
      else {
        await publisher.publish();
        await provenNextKey(place, crypto.sha256, await new LogDirectory(this.logPath).checkpoint());
      }
      this.#reopening = this.#reopened(step === 'finish');
      await this.#reopening;
      const { verifierKeys } = this.#state();
      log.warn('the key of the log changes', { step, verifierKeys });
      return verifierKeys;
    });
  }

  /** Copies spool and log into a folder beside them, which whoever asked takes away. The keys are not in it. */
  async backUp(): Promise<BackedUp> {
    const path = join(this.#parts.place.directory, 'backup');
    return await this.#tended(({ spool }) => backUp(spool, this.logPath, path));
  }

  /** One at a time. @throws ShellstreamError EVIDENCE_FAILED while nothing can be recorded, OVERLOADED */
  async #tended<T>(act: (opened: Opened) => Promise<T>): Promise<T> {
    if (this.#opened === undefined) throw new ShellstreamError('EVIDENCE_FAILED', this.#problem);
    if (this.#isTended) throw new ShellstreamError('OVERLOADED', 'the log is being tended to already');
    this.#isTended = true;
    try {
      return await act(this.#opened);
    } finally {
      this.#isTended = false;
    }
  }

  async #reopened(adopts: boolean): Promise<void> {
    try {
      await this.#publishes;
      this.#close();
      if (adopts) await adoptNextKey(this.#parts.place);
      await this.#open();
    } finally {
      this.#reopening = undefined;
    }
  }

  /** Everything recorded is durable, and others can read it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#reopening;
    this.#upkeep?.cancel();
    await this.#keeping;
    this.#publishing?.cancel();
    this.#opened?.recorder.close();
    await this.#publishNow();
    this.#close();
    this.#problem = 'the gateway stops';
  }

  get #recorder(): Recorder {
    if (this.#opened !== undefined) return this.#opened.recorder;
    throw new ShellstreamError('EVIDENCE_FAILED', this.#problem);
  }

  async #open(): Promise<void> {
    const { place, crypto, log } = this.#parts;
    const { sha256, randomBytes } = crypto;
    const path = join(place.directory, 'spool', 'evidence.db');
    let spool: Spool | undefined;
    try {
      // A spool that has lost its key is not given another one: nobody could tell it from one that was put in its place.
      if (!(await exists(path))) {
        for (const key of place.keys) {
          if (!(await exists(key))) await createLogKey(sha256, randomBytes, key, place.origin);
        }
      }
      const signers = await loadLogKeys(sha256, await signingKeys(place), place.origin);
      const shared = { sha256, ed25519: nodeEd25519, origin: place.origin };
      const { budgetBytes } = place;
      const reserveBytes = Math.min(Math.floor(budgetBytes / RESERVE_SHARE), MOST_RESERVE);
      spool = Spool.open({ ...shared, path, randomBytes, signers, budgetBytes, reserveBytes });
      const asked = this.#witnesses === undefined ? {} : { witnesses: this.#witnesses };
      const publisher = await Publisher.open({ ...shared, ...asked, path: this.logPath, spool, keys: signers });
      // A log that was put back to an older state is found out before anything is recorded in it.
      if (this.#witnesses !== undefined) await this.#publish(publisher);
      const recorder = this.#record(spool);
      this.#opened = { signers, spool, publisher, recorder };
      this.#problem = undefined;
      this.#publishSoon();
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
        this.#publishSoon();
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
    opened?.recorder.close();
    opened?.spool[Symbol.dispose]();
  }

  // ── the published log ──────────────────────────────────────────────────────────────────────────────────────

  #publishSoon(): void {
    const { posture, notarisation, clock } = this.#parts;
    if (this.#isClosed) return;
    // The files cost as much as a thousand records: at the strict levels at once, else together.
    const isUrgent = notarisation(posture().level).anchoring !== 'batched';
    this.#publishing ??= clock.after(isUrgent ? 0 : PUBLISH_MS, () => {
      this.#publishing = undefined;
      this.#publishes = this.#publishNow();
    });
  }

  async #publishNow(): Promise<void> {
    await this.#publishes;
    const publisher = this.#opened?.publisher;
    if (publisher === undefined) return;
    try {
      await this.#publish(publisher, () => this.#opened?.publisher === publisher);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @throws ShellstreamError EVIDENCE_ROLLED_BACK; every other failure is told, and mended by itself or by somebody. */
  async #publish(publisher: Publisher, isOpen: () => boolean = () => true): Promise<void> {
    try {
      await publisher.publish();
      this.#publishProblem = undefined;
    } catch (error) {
      // What failed may have been that the spool was closed meanwhile.
      if (!isOpen()) return;
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#publishProblem) this.#parts.log.error('the evidence log cannot be published', { error });
      this.#publishProblem = problem;
      if (reasonOf(error) === 'EVIDENCE_ROLLED_BACK') throw error;
    }
  }

  // ── upkeep ─────────────────────────────────────────────────────────────────────────────────────────────────

  #waitForUpkeep(): void {
    this.#upkeep = this.#parts.clock.after(UPKEEP_MS, () => {
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
      this.#opened.spool.refillReserve();
      if (this.#publishProblem !== undefined) this.#publishSoon();
      await this.#forgetWhatIsOld(this.#opened);
    } catch (error) {
      this.#fail(error);
    }
  }

  async #forgetWhatIsOld({ spool, publisher }: Opened): Promise<void> {
    const { clock, place, crypto, log } = this.#parts;
    if (clock.monotonic() - this.#lastRetention < RETENTION_MS) return;
    this.#lastRetention = clock.monotonic();
    const day = dayOf(clock.now()) - place.retentionDays;
    const records = forgetOlderThan(spool, day * MS_A_DAY);
    const leftOut = forgetLeftOut(spool, crypto.sha256, day);
    if (records + leftOut > 0) log.info('records were given up: their time is over', { records, leftOut });
    if (place.logDays === undefined) return;
    const minimumIndex = minimumIndexAt(spool, publisher.published, dayOf(clock.now()) - place.logDays);
    if (minimumIndex <= spool.reader.firstEntry()) return;
    // Told before it is true: who reads the log must know that what is missing may be.
    log.warn('the log is pruned', { minimumIndex });
    await pruneLog(spool, publisher, this.logPath, minimumIndex);
  }
}

/** One eighth of the budget is for what may not be refused; more than the ends of as many sessions as there can be, never. */
const RESERVE_SHARE = 8;
const MOST_RESERVE = 32 * 2 ** 20;
/** A commit costs as much CPU as a fourth of a handshake: what comes in these milliseconds shares one. */
const BATCH_MS = 4;
const ENDS_MS = 50;
const PUBLISH_MS = 1_000;
const UPKEEP_MS = 10_000;
const RETENTION_MS = 3_600_000;
const MS_A_DAY = 86_400_000;

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
