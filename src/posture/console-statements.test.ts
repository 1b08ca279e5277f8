import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { ConsoleStatements, type UnconfirmedStore } from './console-statements.ts';
import { PostureEngine } from './engine.ts';
import type { KeptPosture } from './kept.ts';
import { openUnconfirmedStore } from './unconfirmed-store.ts';

const MINUTE = 60_000;
let clock: SimulatedClock;
let folder: string;
let kept: KeptPosture | undefined;
let engine: PostureEngine;
let statements: ConsoleStatements;

beforeEach(async () => {
  clock = new SimulatedClock();
  folder = await mkdtemp(join(tmpdir(), 'shs-console-'));
  kept = undefined;
  await run();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('an unconfirmed level goes back to what the console said before, with what was left of its time', async () => {
  await statements.set({ level: 3, reason: 'first', forMs: 10 * MINUTE });
  await statements.set({ level: 1, reason: 'risky' }, 2 * MINUTE);
  expect([engine.level, statements.unconfirmed?.former.level]).toEqual([1, 3]);
  await elapse(2 * MINUTE);
  expect([engine.level, engine.sources[0]?.reason, statements.unconfirmed]).toEqual([3, 'first', undefined]);
  await elapse(8 * MINUTE);
  expect(engine.level).toBe(5);
});

test('attack: a clock set forward while a loosening waits does not end the lockdown that it goes back to', async () => {
  await statements.set({ level: 1, reason: 'breach', forMs: 120 * MINUTE });
  await statements.set({ level: 5, reason: 'too early' }, 10 * MINUTE);
  clock.setWall(clock.now() + 300 * MINUTE);
  await elapse(10 * MINUTE);
  expect([engine.level, engine.sources[0]?.reason]).toEqual([1, 'breach']);
  await elapse(109 * MINUTE);
  expect(engine.level).toBe(1);
  await elapse(MINUTE);
  expect(engine.level).toBe(5);
});

test('a confirmed level stays; there is nothing to confirm twice', async () => {
  const epoch = await statements.set({ level: 2, reason: 'x' }, MINUTE);
  await statements.confirm(epoch);
  await elapse(2 * MINUTE);
  expect(engine.level).toBe(2);
  await expect(statements.confirm(epoch)).rejects.toThrow('MALFORMED');
});

test('attack: a console cannot confirm what another set', async () => {
  const own = await statements.set({ level: 2, reason: 'own' }, MINUTE);
  const others = await statements.set({ level: 4, reason: 'the other console' }, MINUTE);
  expect(statements.unconfirmed?.epoch).toBe(others);
  await expect(statements.confirm(own)).rejects.toThrow(
    `POSTURE_CHANGED: what waits to be confirmed is epoch ${others}`,
  );
  await expect(statements.confirm(others + 1n)).rejects.toThrow('POSTURE_CHANGED');
  await elapse(MINUTE);
  expect(engine.level).toBe(5);
});

test('race: of two consoles at once each is told the epoch of its own word', async () => {
  const [own, others] = await Promise.all([
    statements.set({ level: 2, reason: 'own' }, MINUTE),
    statements.set({ level: 1, reason: 'the other console' }, MINUTE),
  ]);
  expect([own < others, statements.unconfirmed?.epoch]).toEqual([true, others]);
  await expect(statements.confirm(own)).rejects.toThrow('POSTURE_CHANGED');
});

test('what waits on over a crash is confirmed by the epoch that was told before it', async () => {
  const epoch = await statements.set({ level: 1, reason: 'x' }, 2 * MINUTE);
  await crash();
  await statements.confirm(epoch);
  await elapse(2 * MINUTE);
  expect(engine.level).toBe(1);
});

test('a second tentative level goes back to what stood before the first', async () => {
  await statements.set({ level: 4, reason: 'stood' });
  await statements.set({ level: 2, reason: 'x' }, MINUTE);
  await statements.set({ level: 5, reason: 'y' }, MINUTE);
  await elapse(MINUTE);
  expect(engine.level).toBe(4);
});

test('a plain statement is the last word', async () => {
  await statements.set({ level: 2, reason: 'x' }, MINUTE);
  await statements.set({ level: 3, reason: 'y' });
  await elapse(2 * MINUTE);
  expect(engine.level).toBe(3);
});

test('attack: a crash in between confirms no loosening', async () => {
  await statements.set({ level: 2, reason: 'stood' });
  await statements.set({ level: 5, reason: 'x' }, 10 * MINUTE);
  await crash();
  expect([engine.level, statements.unconfirmed]).toEqual([2, undefined]);
});

test('a tightening waits on over a crash, never longer than it was given', async () => {
  await statements.set({ level: 1, reason: 'x' }, 2 * MINUTE);
  clock.setWall(clock.now() - 5 * 3_600_000);
  await crash();
  expect(engine.level).toBe(1);
  await elapse(2 * MINUTE);
  expect(engine.level).toBe(5);
});

test('a record that cannot be read may have guarded anything: 2', async () => {
  await statements.set({ level: 5, reason: 'x' }, 10 * MINUTE);
  await writeFile(join(folder, 'unconfirmed.json'), '{"former": {"level": 77}}');
  await crash();
  expect(engine.level).toBe(2);
});

test('on a disk that fails a loosening is refused, and a lockdown is not', async () => {
  const broken: UnconfirmedStore = { kept: undefined, save: () => Promise.reject(new Error('disk')) };
  const own = new ConsoleStatements({ clock, log: silentLogger, store: broken, posture: engine });
  await own.set({ level: 3, reason: 'stood' });
  await expect(own.set({ level: 5, reason: 'x' }, MINUTE)).rejects.toThrow('INTERNAL');
  expect(engine.level).toBe(3);
  await own.set({ level: 1, reason: 'x' }, MINUTE);
  expect(engine.level).toBe(1);
});

test('a disk that does not answer holds no tentative lockdown up', async () => {
  const frozen: UnconfirmedStore = { kept: undefined, save: () => new Promise(() => {}) };
  const own = new ConsoleStatements({ clock, log: silentLogger, store: frozen, posture: engine });
  void own.set({ level: 1, reason: 'x' }, MINUTE);
  await clock.advance(0);
  expect(engine.level).toBe(1);
});

test('race: a word of another console, while a tentative loosening waits for the disk, is the last one', async () => {
  const disk = slowDisk();
  const own = new ConsoleStatements({ clock, log: silentLogger, store: disk, posture: engine });
  await own.set({ level: 1, reason: 'stood' });
  const loosening = own.set({ level: 5, reason: 'x' }, MINUTE);
  await own.set({ level: 2, reason: 'the other console' });
  disk.answer();
  await expect(loosening).rejects.toThrow('something else meanwhile');
  expect([engine.level, own.unconfirmed]).toEqual([2, undefined]);
});

test('a second tentative loosening that cannot be kept leaves the first one as it was: it goes back in its time', async () => {
  let isBroken = false;
  const disk: UnconfirmedStore = {
    kept: undefined,
    save: async () => {
      if (isBroken) throw new Error('disk');
    },
  };
  const own = new ConsoleStatements({ clock, log: silentLogger, store: disk, posture: engine });
  await own.set({ level: 2, reason: 'stood' });
  await own.set({ level: 4, reason: 'x' }, MINUTE);
  isBroken = true;
  await expect(own.set({ level: 5, reason: 'y' }, 5 * MINUTE)).rejects.toThrow('INTERNAL');
  await clock.advance(MINUTE);
  expect([engine.level, own.unconfirmed]).toEqual([2, undefined]);
});

test('a crash between a plain word and the end of what waited takes back what waited, not the word', async () => {
  await statements.set({ level: 2, reason: 'x' }, MINUTE);
  await engine.state('console', 3, 'plain');
  await crash();
  await clock.advance(2 * MINUTE);
  expect([engine.level, statements.unconfirmed]).toEqual([3, undefined]);
});

test('a tentative loosening that ran out before a crash still goes back to what was before it', async () => {
  await statements.set({ level: 2, reason: 'stood' });
  await statements.set({ level: 5, reason: 'x', forMs: MINUTE }, 10 * MINUTE);
  statements[Symbol.dispose]();
  await clock.advance(2 * MINUTE);
  await run();
  expect(engine.level).toBe(2);
});

test('a disk that never answers refuses a loosening, and holds up neither a lockdown nor a start', async () => {
  const store: UnconfirmedStore = { kept: undefined, save: () => new Promise<void>(() => undefined) };
  using own = new ConsoleStatements({ clock, log: silentLogger, store, posture: engine });
  const locked = own.set({ level: 1, reason: 'x' });
  await clock.advance(2_000);
  await locked;
  const refused = own.set({ level: 5, reason: 'x' }, MINUTE).catch(String);
  await clock.advance(2_000);
  expect(await refused).toContain('cannot be kept');
  expect(engine.level).toBe(1);
});

test('a confirmation that the disk does not take stands, and is not told as one that lasts', async () => {
  const broken: UnconfirmedStore = { kept: undefined, save: () => Promise.reject(new Error('disk')) };
  const own = new ConsoleStatements({ clock, log: silentLogger, store: broken, posture: engine });
  const epoch = await own.set({ level: 2, reason: 'x' }, MINUTE);
  await expect(own.confirm(epoch)).rejects.toThrow('a restart would take it back');
  await clock.advance(2 * MINUTE);
  expect(engine.level).toBe(2);
});

test('of two words at once the later one is kept', async () => {
  const store = await openUnconfirmedStore(folder);
  const former = { level: 5, reason: '' } as const;
  await Promise.all([store.save({ former, untilMs: 1, withinMs: 1 }), store.save(undefined)]);
  expect((await openUnconfirmedStore(folder)).kept).toBeUndefined();
});

/** Answers when it is told to, but to whoever wants nothing kept. */
function slowDisk(): UnconfirmedStore & { answer(): void } {
  const waiting: (() => void)[] = [];
  return {
    kept: undefined,
    save: async (unconfirmed) => {
      if (unconfirmed !== undefined) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    answer: () => {
      for (const resolve of waiting) resolve();
    },
  };
}

async function run(): Promise<void> {
  const store = {
    save: async (posture: KeptPosture) => {
      kept = posture;
    },
  };
  engine = new PostureEngine({ clock, log: silentLogger, store, kept, initial: 5, firstEpoch: 1n });
  const unconfirmed = await openUnconfirmedStore(folder);
  statements = new ConsoleStatements({ clock, log: silentLogger, store: unconfirmed, posture: engine });
  await statements.resume();
}

/** The run ends without a word, and another one begins. */
async function crash(): Promise<void> {
  statements[Symbol.dispose]();
  await run();
}

/** What falls due touches the disk, which a simulated clock does not wait for. */
async function elapse(ms: number): Promise<void> {
  await clock.advance(ms);
  while (statements.unconfirmed !== undefined) await clock.advance(0);
}
