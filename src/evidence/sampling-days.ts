/**
 * Sampling keys, one a day: committed to in the log the day before (at the first start, before the first record), revealed
 * when the day is over and everything it left out is under a batch root. A clock that is put back does not bring a day back.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  commitmentOf,
  commitToKey,
  dayOf,
  encodeEntry,
  leafHash,
  MAX_BATCH,
  rootOf,
  SAMPLING_KEY_BYTES,
} from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Spool } from './spool.ts';
import type { SamplingKey, SpoolItem } from './spool-items.ts';
import type { LeftOutRow } from './spool-reader.ts';

export class SamplingDays {
  readonly #spool: Spool;
  readonly #crypto: Pick<CryptoProvider, 'sha256' | 'randomBytes'>;
  #keys: SamplingKey[];
  #today: SamplingKey | undefined;

  constructor(spool: Spool, crypto: Pick<CryptoProvider, 'sha256' | 'randomBytes'>) {
    this.#spool = spool;
    this.#crypto = crypto;
    this.#keys = spool.reader.samplingKeys();
  }

  get today(): SamplingKey {
    if (this.#today === undefined) throw new ShellstreamError('INTERNAL', 'sampling before its day was set');
    return this.#today;
  }

  /** Commits to what is missing of today's and tomorrow's keys, and ends the days before. */
  turnTo(nowMs: number): void {
    // A day whose key is known samples nothing any more: the next one that is secret does.
    const lastRevealed = this.#keys.findLast(({ isRevealed }) => isRevealed)?.day ?? -1;
    const day = Math.max(dayOf(nowMs), this.#today?.day ?? 0, lastRevealed + 1);
    if (this.#today?.day === day) return;
    this.#commitTo([day, day + 1].filter((wanted) => !this.#keys.some((key) => key.day === wanted)));
    this.#today = this.#keys.find((key) => key.day === day);
    this.closeBatches();
    this.#reveal(this.#keys.filter((key) => key.day < day && !key.isRevealed));
  }

  /** Puts all left-out records that are in no batch under roots: one for each day, and for so many at a time. */
  closeBatches(): void {
    const { leftOut, batched } = this.#spool.counters;
    for (let from = batched; from < leftOut; ) {
      const rows = this.#spool.reader.leftOut(from, Math.min(leftOut, from + MAX_BATCH));
      const [first] = rows;
      if (first === undefined)
        throw new ShellstreamError('EVIDENCE_FAILED', `left-out record ${from} is missing from the spool`);
      const end = rows.findIndex(({ day }) => day !== first.day);
      const batch = end < 0 ? rows : rows.slice(0, end);
      this.#closeBatch(first.day, from, batch);
      from += batch.length;
    }
  }

  #closeBatch(day: number, first: number, rows: readonly LeftOutRow[]): void {
    const { sha256 } = this.#crypto;
    const leaves = rows.map((row) =>
      leafHash(sha256, encodeEntry({ kind: 'record', commitment: this.#commitment(row) })),
    );
    const count = rows.length;
    const entry = { kind: 'left-out', day, first, count, root: rootOf(sha256, leaves) } as const;
    this.#spool.append([{ to: 'public', entry }], { batched: first + count }, true);
  }

  #commitment({ number, opening, commitment }: LeftOutRow): Uint8Array {
    if (opening !== undefined) return commitmentOf(this.#crypto.sha256, opening.salt, opening.record);
    if (commitment !== undefined) return commitment;
    throw new ShellstreamError('EVIDENCE_FAILED', `left-out record ${number} has neither record nor commitment`);
  }

  #commitTo(days: readonly number[]): void {
    if (days.length === 0) return;
    const keys = days.map((day) => ({ day, key: this.#crypto.randomBytes(SAMPLING_KEY_BYTES), isRevealed: false }));
    const items = keys.map(({ day, key }): SpoolItem => {
      return {
        to: 'public',
        entry: { kind: 'key-committed', day, commitment: commitToKey(this.#crypto.sha256, day, key) },
      };
    });
    this.#spool.append(items, { keys }, true);
    this.#keys = this.#spool.reader.samplingKeys();
  }

  #reveal(over: readonly SamplingKey[]): void {
    if (over.length === 0) return;
    const keys = over.map((key) => ({ ...key, isRevealed: true }));
    const items = keys.map(({ day, key }): SpoolItem => ({ to: 'public', entry: { kind: 'key-revealed', day, key } }));
    this.#spool.append(items, { keys }, true);
    this.#keys = this.#spool.reader.samplingKeys();
  }
}
