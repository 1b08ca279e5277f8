/**
 * What is given up when its time is over, once an hour: records, then entries and tiles. Days are counted by time that was
 * seen to pass, not by the wall clock alone: who sets that a year ahead cannot make the log forget.
 */
import { dayOf } from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { PassedTime } from '../base/passed-time.ts';
import type { EvidencePlace } from './evidence-place.ts';
import type { Publisher } from './publisher.ts';
import { forgetLeftOut, forgetOlderThan, minimumIndexAt, pruneLog } from './retention.ts';
import type { Spool } from './spool.ts';

export interface UpkeepParts {
  readonly clock: Clock;
  readonly crypto: Pick<CryptoProvider, 'sha256'>;
  readonly log: Logger;
  readonly place: EvidencePlace;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  #passed: PassedTime | undefined;
  #last = Number.NEGATIVE_INFINITY;
  #isToldAhead = false;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** With what a spool kept of the time that passed. One that is opened again tells less than this knows already. */
  begin(spool: Spool): void {
    const { clock, place } = this.#parts;
    const uptime = place.uptime ?? { boot: '', ms: () => clock.monotonic() };
    this.#passed ??= new PassedTime(() => clock.now(), uptime, spool.reader.passed());
  }

  /** Milliseconds since the epoch, as far as they were seen to pass; 0 before a spool was open. */
  now(): number {
    return this.#passed?.now() ?? 0;
  }

  /** Why less is forgotten than the clock says; empty: it is not. */
  get held(): string {
    const days = Math.floor((this.#passed?.aheadMs ?? 0) / MS_A_DAY);
    if (days === 0) return '';
    const seen = new Date(this.now()).toISOString().slice(0, 10);
    return `the clock is ${days} days ahead of the time that was seen to pass: what is due by it is kept, as if it were ${seen}`;
  }

  /** An operator says that the clock is right. */
  trustClock(spool: Spool): void {
    this.#passed?.trust();
    this.#last = Number.NEGATIVE_INFINITY;
    this.keepMark(spool);
  }

  /** What cannot be written, as on a full disk, is caught up with; the console's evidence must not end by it. */
  keepMark(spool: Spool): void {
    const mark = this.#passed?.mark;
    if (mark === undefined) return;
    try {
      spool.forget((rows) => rows.putPassed(mark));
    } catch (error) {
      this.#parts.log.warn('the time that passed could not be kept', { error });
    }
  }

  /** Does nothing if it was done within the hour. */
  async forgetWhatIsOld(spool: Spool, publisher: Publisher, logPath: string): Promise<void> {
    const { clock, place, crypto, log } = this.#parts;
    if (clock.monotonic() - this.#last < RETENTION_MS) return;
    this.#last = clock.monotonic();
    this.#tellAhead();
    this.keepMark(spool);
    const today = dayOf(this.now());
    const day = today - place.retentionDays;
    const records = forgetOlderThan(spool, day * MS_A_DAY);
    const leftOut = forgetLeftOut(spool, crypto.sha256, day);
    if (records + leftOut > 0) log.info('records were given up: their time is over', { records, leftOut });
    if (place.logDays === undefined) return;
    const minimumIndex = minimumIndexAt(spool, publisher.published, today - place.logDays);
    if (minimumIndex <= spool.reader.firstEntry()) return;
    // Told before it is true: who reads the log must know that what is missing may be.
    log.warn('the log is pruned', { minimumIndex });
    await pruneLog(spool, publisher, logPath, minimumIndex);
  }

  #tellAhead(): void {
    const { held } = this;
    if (held !== '' && !this.#isToldAhead) this.#parts.log.warn(held, {});
    this.#isToldAhead = held !== '';
  }
}

const RETENTION_MS = 3_600_000;
const MS_A_DAY = 86_400_000;
