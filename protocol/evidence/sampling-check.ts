/** What anyone can check of sampling without seeing a record: the order of keys and batches in the log. */
import { sameBytes } from './bytes.ts';
import type { LogEntry } from './entry.ts';
import type { Finding } from './finding.ts';
import type { Sha256 } from './merkle.ts';
import { commitToKey } from './sampling.ts';

interface DayState {
  readonly commitment: Uint8Array;
  key: Uint8Array | undefined;
}

export interface LeftOutBatch {
  readonly entry: number;
  readonly day: number;
  readonly first: number;
  readonly count: number;
  readonly root: Uint8Array;
}

/** Fed with all entries of a log in order. */
export class SamplingCheck {
  readonly #sha256: Sha256;
  readonly #onFinding: (finding: Finding) => void;
  readonly #days = new Map<number, DayState>();
  readonly #batches: LeftOutBatch[] = [];
  /** Undefined while the beginning of the log is pruned and no batch was seen. */
  #nextLeftOut: number | undefined;
  readonly #isPruned: boolean;
  /** Of the commitments that are left; before it, days may have been committed to in what was pruned. */
  #firstDay = Number.POSITIVE_INFINITY;
  /** Such days, and whether their keys were revealed: to be believed, and nothing more. */
  readonly #unproven = new Map<number, 'secret' | 'revealed'>();

  constructor(sha256: Sha256, isPruned: boolean, onFinding: (finding: Finding) => void) {
    this.#sha256 = sha256;
    this.#onFinding = onFinding;
    this.#nextLeftOut = isPruned ? undefined : 0;
    this.#isPruned = isPruned;
  }

  /** Keys that were revealed and are those committed to, by day. */
  get keys(): ReadonlyMap<number, Uint8Array> {
    const revealed = new Map<number, Uint8Array>();
    for (const [day, { key }] of this.#days) if (key !== undefined) revealed.set(day, key);
    return revealed;
  }

  get batches(): readonly LeftOutBatch[] {
    return this.#batches;
  }

  entry(index: number, entry: LogEntry): void {
    const wrong = this.#judge(index, entry);
    if (wrong !== undefined) this.#onFinding({ kind: 'sampling', entry: index, why: wrong });
  }

  #judge(index: number, entry: LogEntry): string | undefined {
    switch (entry.kind) {
      case 'record':
        return undefined;
      case 'key-committed':
        // A second commitment would let the owner choose between two keys when the day's sessions are known.
        if (this.#days.has(entry.day)) return `a second key is committed to for day ${entry.day}`;
        if (this.#unproven.has(entry.day)) return `a key is committed to for day ${entry.day}, which was used before`;
        this.#firstDay = Math.min(this.#firstDay, entry.day);
        this.#days.set(entry.day, { commitment: entry.commitment, key: undefined });
        return undefined;
      case 'key-revealed': {
        const day = this.#days.get(entry.day);
        if (day === undefined && this.#mayBePruned(entry.day)) return this.#revealUnproven(entry.day);
        if (day === undefined) return `the key of day ${entry.day} was never committed to`;
        if (day.key !== undefined) return `the key of day ${entry.day} is revealed a second time`;
        if (!sameBytes(commitToKey(this.#sha256, entry.day, entry.key), day.commitment)) {
          return `the key of day ${entry.day} is not the one committed to`;
        }
        day.key = entry.key;
        return undefined;
      }
      case 'left-out': {
        const expected = this.#nextLeftOut ?? entry.first;
        this.#nextLeftOut = entry.first + entry.count;
        this.#batches.push({ entry: index, ...entry });
        const day = this.#days.get(entry.day);
        if (day !== undefined || !this.#mayBePruned(entry.day)) {
          if (day === undefined) return `records of day ${entry.day} are left out and its key was never committed to`;
          if (day.key !== undefined) return `records of day ${entry.day} are left out after its key was known`;
        } else if (this.#unproven.get(entry.day) === 'revealed') {
          return `records of day ${entry.day} are left out after its key was known`;
        } else {
          this.#unproven.set(entry.day, 'secret');
        }
        if (entry.first > expected) return `left-out records ${expected} to ${entry.first - 1} are in no batch`;
        return entry.first < expected ? `left-out record ${entry.first} is in two batches` : undefined;
      }
    }
  }

  #mayBePruned(day: number): boolean {
    return this.#isPruned && day < this.#firstDay;
  }

  #revealUnproven(day: number): string | undefined {
    if (this.#unproven.get(day) === 'revealed') return `the key of day ${day} is revealed a second time`;
    this.#unproven.set(day, 'revealed');
    return undefined;
  }
}
