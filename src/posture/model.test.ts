/**
 * The engine under random events, against a small model of what must hold: sources that speak, expire and are set aside; steps
 * that are slow, fail or hang; a disk that fails or hangs; crashes, with what they do to the disk.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import {
  DATA_PLANE,
  type DiskMode,
  FakeDisk,
  FakeKernel,
  type Life,
  STEPS,
  type StepMode,
  type StepName,
  strictest,
} from '../../test/support/posture-world.ts';
import { type Clock, turnEnded } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { PostureEngine } from './engine.ts';

type Event =
  | { readonly kind: 'says'; readonly source: string; readonly level: PostureLevel; readonly forMs: number | undefined }
  | { readonly kind: 'set aside'; readonly source: string }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'step'; readonly step: StepName; readonly mode: StepMode }
  | { readonly kind: 'wake' }
  | { readonly kind: 'disk'; readonly mode: DiskMode }
  | { readonly kind: 'crash'; readonly damage: 'none' | 'torn' | 'damaged' | 'lost'; readonly at: number };

const SOURCES = ['console', 'map', 'bascule'] as const;
const source = fc.constantFrom(...SOURCES);
const is = <K extends string>(kind: K) => fc.constant(kind);

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: is('says'),
      source,
      level: fc.constantFrom<PostureLevel>(1, 2, 3, 4, 5),
      forMs: fc.constantFrom(undefined, undefined, 30, 3_000, 60_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: is('set aside'), source }) },
  { weight: 5, arbitrary: fc.record({ kind: is('time'), ms: fc.constantFrom(0, 10, 25, 150, 1_000, 4_000, 20_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: is('step'),
      step: fc.constantFrom(...STEPS),
      mode: fc.constantFrom<StepMode>('works', 'works', 'slow', 'fails', 'hangs'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: is('wake') }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: is('disk'), mode: fc.constantFrom<DiskMode>('works', 'works', 'fails', 'hangs') }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: is('crash'),
      damage: fc.constantFrom('none' as const, 'none' as const, 'torn' as const, 'damaged' as const, 'lost' as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    }),
  },
);

/** How long a step that works may wait for the others, with one deadline for each that hangs and one for what was under way. */
const DEADLINE_MS = 4_000;
const QUIET_MS = 600;
const LONGEST_RETRY_MS = 30_000;

/** What a source says, and by when it is over. */
interface Word {
  readonly level: PostureLevel;
  readonly until: number;
  readonly isAside: boolean;
}

class Walk {
  readonly clock = new SimulatedClock(undefined, turnEnded);
  readonly kernel = new FakeKernel(this.clock);
  readonly disk = new FakeDisk();
  /** Of each source, from the last word that is surely on disk on. */
  readonly words = new Map<string, Word[]>();
  life: Life = { isOver: false };
  engine: PostureEngine = this.#run();
  /** By when everything that works must have the level. */
  due = QUIET_MS;
  readonly #worksFrom = new Map<StepName, number>();
  #strictest: PostureLevel = 5;
  #isDiskSound = { always: true };

  get asked(): PostureLevel {
    return strictest([...this.words.values()].flatMap((words) => this.#live(words.at(-1))));
  }

  async take(event: Event): Promise<void> {
    switch (event.kind) {
      case 'says': {
        const { level, forMs } = event;
        const until = forMs === undefined ? Number.POSITIVE_INFINITY : this.clock.now() + forMs;
        this.#speak(event.source, { level, until, isAside: false }, this.engine.state(event.source, level, 'x', forMs));
        break;
      }
      case 'set aside': {
        const word = this.words.get(event.source)?.at(-1);
        if (word === undefined) break;
        this.#speak(event.source, { ...word, isAside: true }, this.engine.setAside(event.source));
        break;
      }
      case 'time':
        await this.clock.advance(event.ms);
        break;
      case 'step':
        if (event.mode === 'works' && this.kernel.modes.get(event.step) !== 'works') {
          this.#worksFrom.set(event.step, this.clock.now() + LONGEST_RETRY_MS + this.#window);
        }
        this.kernel.modes.set(event.step, event.mode);
        this.#putOff();
        break;
      case 'wake':
        this.kernel.wake();
        this.#putOff();
        break;
      case 'disk':
        if (event.mode !== 'works') this.#isDiskSound.always = false;
        else if (this.disk.mode !== 'works') this.#isDiskSound = { always: true };
        this.disk.mode = event.mode;
        break;
      case 'crash':
        await this.#crash(event.damage, event.at);
        break;
    }
    await turnEnded();
    this.#look();
  }

  /** Everything works again, and time has passed. */
  async settle(): Promise<void> {
    for (const step of STEPS) await this.take({ kind: 'step', step, mode: 'works' });
    await this.take({ kind: 'disk', mode: 'works' });
    await this.take({ kind: 'wake' });
    await this.clock.advance(LONGEST_RETRY_MS + DEADLINE_MS * STEPS.length);
    this.#look();
  }

  /** Never looser than asked for once the window passed. */
  #look(): void {
    const now = this.clock.now();
    if (this.asked < this.#strictest) this.#putOff();
    this.#strictest = this.asked;
    if (now < this.due) return;
    expect(this.engine.level).toBeLessThanOrEqual(this.asked);
    for (const [step, level] of this.kernel.levels) {
      if (this.kernel.modes.get(step) !== 'works' || now < (this.#worksFrom.get(step) ?? 0)) continue;
      expect(level, step).toBeLessThanOrEqual(this.asked);
    }
  }

  get #window(): number {
    const hanging = [...this.kernel.modes.values()].filter((mode) => mode === 'hangs').length;
    return QUIET_MS + (hanging === 0 ? 0 : DEADLINE_MS * (hanging + 1));
  }

  #putOff(): void {
    this.due = Math.max(this.due, this.clock.now() + this.#window);
  }

  #live(word: Word | undefined): PostureLevel[] {
    return word === undefined || word.isAside || word.until <= this.clock.now() ? [] : [word.level];
  }

  #speak(source: string, word: Word, done: Promise<void>): void {
    const words = this.words.get(source) ?? [];
    this.words.set(source, [...words, word]);
    const disk = this.#isDiskSound;
    void done.then(() => {
      if (!disk.always) return;
      const known = this.words.get(source) ?? [];
      const at = known.indexOf(word);
      if (at > 0) this.words.set(source, known.slice(at));
      this.#kept.add(word);
    });
  }

  /** Surely on disk. */
  readonly #kept = new Set<Word>();

  async #crash(damage: 'none' | 'torn' | 'damaged' | 'lost', at: number): Promise<void> {
    this.life.isOver = true;
    let isDamaged = damage === 'lost';
    if (damage === 'torn') this.disk.tear();
    if (damage === 'damaged') isDamaged = this.disk.damage(at);
    if (damage === 'lost') this.disk.loseRecord();
    const before = new Map(this.words);
    this.life = { isOver: false };
    this.engine = this.#run();
    const said = new Map(this.engine.sources.map((one) => [one.source, one]));
    this.words.clear();
    for (const [source, { level, expiresAtMs, counts }] of said) {
      const until = expiresAtMs ?? Number.POSITIVE_INFINITY;
      this.words.set(source, [{ level, until, isAside: !counts && until > this.clock.now() }]);
    }
    if (isDamaged) expect(this.engine.level).toBeLessThanOrEqual(2);
    else for (const [source, words] of before) this.#remembers(source, words);
    for (const words of this.words.values()) for (const word of words) this.#kept.add(word);
    this.#strictest = this.asked;
    this.#putOff();
  }

  /** What was surely kept, or something that was said later. */
  #remembers(source: string, words: readonly Word[]): void {
    const [word] = this.words.get(source) ?? [];
    if (word === undefined) {
      expect(
        words.some((one) => this.#kept.has(one)),
        `${source} is forgotten`,
      ).toBe(false);
      return;
    }
    const same = words.some(({ level, until, isAside }) => {
      const isOver = until <= this.clock.now();
      return level === word.level && until === word.until && (isOver || isAside === word.isAside);
    });
    expect(same, `${source} says ${JSON.stringify(word)}, and said ${JSON.stringify(words)}`).toBe(true);
  }

  #run(): PostureEngine {
    const { life, disk } = this;
    const clock = mortal(this.clock, life);
    const parts = { store: disk.store(life), ...disk.read(clock.now()), journal: disk.journal(life) };
    const firstEpoch = BigInt(clock.now());
    const engine = new PostureEngine({ clock, log: silentLogger, initial: 5, firstEpoch, ...parts });
    const steps = this.kernel.steps(life, (name, level) => this.#applied(engine, name, level));
    void engine.start(steps);
    return engine;
  }

  /** Page and map before admission on tightening, after it on relaxing. */
  #applied(engine: PostureEngine, name: StepName, level: PostureLevel): void {
    const former = this.kernel.levels.get(name) ?? 5;
    if (name === 'admission') {
      if (level >= former) return;
      const open = DATA_PLANE.filter((one) => (this.kernel.levels.get(one) ?? 5) > level);
      expect(
        open.filter((one) => !engine.unrealised.includes(one)),
        'looser than admission',
      ).toEqual([]);
    } else if (level > former && name !== 'sessions' && name !== 'tunnels') {
      expect(engine.level, `admission before ${name}`).toBeGreaterThanOrEqual(level);
    }
  }
}

it('never looser than the strictest live word, and always there in the end, whatever happens on the way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 40 }), async (events) => {
      const walk = new Walk();
      for (const event of events) await walk.take(event);
      await walk.settle();
      const everywhere = (level: PostureLevel) => Object.fromEntries(STEPS.map((step) => [step, level]));
      expect([walk.engine.level, Object.fromEntries(walk.kernel.levels)]).toEqual([walk.asked, everywhere(walk.asked)]);
      expect(walk.engine.problems).toEqual([]);
      // And the next run knows it, and takes it in full.
      await walk.take({ kind: 'crash', damage: 'none', at: 0 });
      await walk.settle();
      expect([walk.engine.level, Object.fromEntries(walk.kernel.levels)]).toEqual([walk.asked, everywhere(walk.asked)]);
    }),
    { numRuns: Number(process.env.POSTURE_WALKS ?? 150) },
  );
});

function mortal(clock: Clock, life: Life): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, action) => clock.after(delayMs, () => life.isOver || action()),
  };
}
