/** What a posture engine acts on, in memory, with everything that may go wrong with it: steps in a kernel, and a disk. */
import { POSTURE_LEVELS, type PostureLevel } from '../../protocol/posture/index.ts';
import { type Clock, sleep } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { formatRecord, type JournalRecord, type PostureJournal, readJournal } from '../../src/posture/journal.ts';
import type { KeptPosture } from '../../src/posture/kept.ts';
import type { PostureStep, PostureSteps } from '../../src/posture/plan.ts';
import { type Recovered, recover } from '../../src/posture/recovery.ts';
import type { PostureStore } from '../../src/posture/store.ts';

const { sha256 } = nodeCrypto;
const SLOW_MS = 20;
/** What a process that was killed waits for. */
const DEAD = new Promise<never>(() => undefined);

export const DATA_PLANE = ['page', 'map'] as const;
export const SESSION_LAYER = ['sessions', 'tunnels'] as const;
export const STEPS = [...DATA_PLANE, 'admission', ...SESSION_LAYER] as const;
export type StepName = (typeof STEPS)[number];
/** A slow one takes 20 ms. One that hangs does what it was told when it is woken. */
export type StepMode = 'works' | 'slow' | 'fails' | 'hangs';

/** Of a process; what is killed does nothing any more, and is answered nothing. */
export interface Life {
  isOver: boolean;
}

export class FakeKernel {
  readonly levels = new Map<StepName, PostureLevel>(STEPS.map((name) => [name, 5]));
  readonly modes = new Map<StepName, StepMode>(STEPS.map((name) => [name, 'works']));
  readonly #clock: Clock;
  #hanging: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param onApplied in the turn in which a step in time takes effect, before it does */
  steps(life: Life, onApplied: (name: StepName, level: PostureLevel) => void): PostureSteps {
    const step = (name: StepName): PostureStep => ({
      name,
      apply: (level) => {
        const apply = (): void => {
          onApplied(name, level);
          this.levels.set(name, level);
        };
        if (life.isOver) return DEAD;
        switch (this.modes.get(name)) {
          case 'fails':
            throw new Error('told to fail');
          case 'slow':
            return sleep(this.#clock, SLOW_MS).then(() => (life.isOver ? DEAD : apply()));
          case 'hangs':
            return new Promise((resolve) => {
              this.#hanging.push(() => {
                if (life.isOver) return;
                this.levels.set(name, level);
                resolve();
              });
            });
          default:
            return apply();
        }
      },
    });
    return { dataPlane: DATA_PLANE.map(step), admission: step('admission'), sessionLayer: SESSION_LAYER.map(step) };
  }

  get slowest(): StepMode {
    const modes = [...this.modes.values()];
    return modes.includes('hangs') ? 'hangs' : modes.includes('slow') ? 'slow' : 'works';
  }

  wake(): void {
    for (const wake of this.#hanging.splice(0)) wake();
  }
}

export type DiskMode = 'works' | 'fails' | 'hangs';

/** As the files in the state directory behave, without them. */
export class FakeDisk {
  #mode: DiskMode = 'works';
  #record: KeptPosture | 'none' | 'unreadable' = 'none';
  #journal = '';
  #late: (() => void)[] = [];

  get mode(): DiskMode {
    return this.#mode;
  }

  set mode(mode: DiskMode) {
    this.#mode = mode;
    if (mode !== 'hangs') for (const write of this.#late.splice(0)) write();
  }

  store(life: Life): PostureStore {
    return {
      save: (kept) =>
        this.#write(life, () => {
          this.#record = kept;
        }),
    };
  }

  journal(life: Life): PostureJournal {
    const { records } = readJournal(this.#journal, sha256);
    let start = records.map((record) => formatRecord(record, sha256)).join('');
    let isBegun = false;
    return {
      write: (record: JournalRecord) => {
        const line = formatRecord(record, sha256);
        return this.#write(life, () => {
          if (!isBegun) this.#journal = start;
          isBegun = true;
          this.#journal += line;
        })
          .catch((error: unknown) => {
            isBegun = false;
            throw error;
          })
          .finally(() => {
            if (record.kind === 'intent') start = line;
          });
      },
    };
  }

  /** What a power cut in the middle of a record leaves of it. */
  tear(): void {
    const record: JournalRecord = { kind: 'step', epoch: 1n, step: 'x', outcome: 'taken' };
    this.#journal += formatRecord(record, sha256).slice(0, 30);
  }

  /** Damages what is there, the place as a fraction of its length. False when no record suffers. */
  damage(place: number): boolean {
    const end = this.#journal.lastIndexOf('\n');
    if (end < 0) return false;
    // Half a record behind a damaged line feed would be two faults.
    const isTorn = end < this.#journal.length - 1;
    const at = Math.floor(place * (isTorn ? end : end + 1));
    this.#journal = `${this.#journal.slice(0, at)}\u007f${this.#journal.slice(at + 1)}`;
    return at !== end;
  }

  loseRecord(): void {
    this.#record = 'unreadable';
  }

  read(now: number): Recovered {
    this.#late = [];
    return recover(this.#record, readJournal(this.#journal, sha256), now);
  }

  async #write(life: Life, write: () => void): Promise<void> {
    // As a file is: never in the turn in which it is asked for.
    await Promise.resolve();
    if (this.#mode === 'hangs') await new Promise<void>((resolve) => this.#late.push(resolve));
    if (life.isOver) return await DEAD;
    if (this.#mode === 'fails') throw new Error('told to fail');
    write();
  }
}

export function strictest(levels: readonly PostureLevel[]): PostureLevel {
  return POSTURE_LEVELS.findLast((level) => levels.includes(level)) ?? 5;
}
