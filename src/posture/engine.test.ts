import { beforeEach, describe, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { PostureEngine } from './engine.ts';
import type { KeptPosture } from './kept.ts';
import type { PostureStep, PostureSteps } from './plan.ts';

const FIRST_EPOCH = 100n;
const FORGETFUL = { save: async () => {} };
let clock: SimulatedClock;
let engine: PostureEngine;
let taken: string[];

beforeEach(async () => {
  clock = new SimulatedClock();
  engine = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: FIRST_EPOCH });
  taken = [];
  await engine.start(stepsOf([step('page'), step('map')], [step('sessions'), step('tunnels')]));
  taken = [];
});

describe('a change of posture', () => {
  it('on tightening goes from the data plane outwards; admission reads the level in between', async () => {
    await engine.state('console', 2, 'test');
    expect(taken).toEqual(['page 2, read 5', 'map 2, read 5', 'sessions 2, read 2', 'tunnels 2, read 2']);
  });

  it('on relaxing goes the other way: the data plane is last to open', async () => {
    await engine.state('console', 2, 'test');
    taken = [];
    await engine.state('console', 5, 'test');
    expect(taken).toEqual(['tunnels 5, read 5', 'sessions 5, read 5', 'map 5, read 5', 'page 5, read 5']);
  });

  it('says that it is under way from the word until the last step was taken', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    const last = Promise.withResolvers<void>();
    const seen: unknown[] = [];
    const steps = [step('page'), { name: 'last', apply: () => (own.level === 2 ? last.promise : undefined) }];
    await own.start(stepsOf([], steps));
    await clock.advance(7);
    expect(own.changingSinceMs).toBeUndefined();
    const begun = clock.monotonic();
    const change = own.state('console', 2, 'test').then(() => seen.push(own.changingSinceMs));
    expect(own.changingSinceMs).toBe(begun);
    await expect.poll(() => own.level).toBe(2);
    await clock.advance(1_000);
    expect(own.changingSinceMs).toBe(begun);
    last.resolve();
    await change;
    expect(seen).toEqual([undefined]);
  });

  it('has precedence at the cores while it is under way, also when a step fails, and not a moment longer', async () => {
    const seen: string[] = [];
    const precedence = {
      take: () => {
        seen.push('taken');
        return { [Symbol.dispose]: () => void seen.push('given back') };
      },
    };
    const parts = { clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n, precedence } as const;
    using own = new PostureEngine(parts);
    const fails = (name: string): PostureStep => ({
      name,
      apply: (level) => {
        seen.push(`${name} ${level}`);
        if (level === 2) throw new Error('no');
      },
    });
    await own.start(stepsOf([], []));
    seen.length = 0;
    await own.start(stepsOf([fails('page')], [fails('last')]));
    expect(seen).toEqual(['taken', 'page 5', 'last 5', 'given back']);
    seen.length = 0;
    await own.state('console', 2, 'test');
    expect(seen).toEqual(['taken', 'page 2', 'last 2', 'given back']);
    seen.length = 0;
    // A step that is only tried again is in no hurry.
    await clock.advance(1_000);
    expect(seen).toEqual(['page 2', 'last 2']);
  });

  it('a step that hangs does not keep the precedence', async () => {
    const seen: string[] = [];
    const precedence = {
      take: () => ({ [Symbol.dispose]: () => void seen.push('given back') }),
    };
    const parts = { clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n, precedence } as const;
    using own = new PostureEngine(parts);
    const hangs = Promise.withResolvers<void>();
    const slow = (name: string): PostureStep => ({
      name,
      deadlineMs: 60_000,
      apply: (level) => (level === 2 ? hangs.promise : undefined),
    });
    await own.start(stepsOf([], [slow('tunnels')]));
    seen.length = 0;
    const change = own.state('console', 2, 'test');
    await clock.advance(4_999);
    expect(seen).toEqual([]);
    await clock.advance(1);
    expect(seen).toEqual(['given back']);
    hangs.resolve();
    await change;
  });

  it('raises the epoch once, and tells who holds the level', async () => {
    const told: unknown[] = [];
    engine.onChange(({ from, to, epoch, heldBy, failed }) => told.push({ from, to, epoch, heldBy, failed }));
    await engine.state('console', 3, 'test');
    await engine.state('console', 3, 'again');
    expect(told).toEqual([{ from: 5, to: 3, epoch: FIRST_EPOCH + 1n, heldBy: ['console'], failed: false }]);
    expect(engine.epoch).toBe(FIRST_EPOCH + 1n);
  });

  it.each(['page', 'map', 'sessions', 'tunnels'])(
    'goes on to the stricter steps when %s fails, and says that it failed',
    async (failing) => {
      const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
      const steps = ['page', 'map', 'sessions', 'tunnels'].map((name) => step(name, own, failing));
      await own.start(stepsOf(steps.slice(0, 2), steps.slice(2)));
      taken = [];
      const failed: boolean[] = [];
      own.onChange((change) => failed.push(change.failed));
      await own.state('console', 1, 'test');
      expect(taken.map((line) => line.split(' ')[0])).toEqual(['page', 'map', 'sessions', 'tunnels']);
      expect([own.level, failed]).toEqual([1, [true]]);
    },
  );
});

describe('several sources', () => {
  it('said at once end in the strictest, whatever the order', async () => {
    await Promise.all([
      engine.state('console', 4, 'test'),
      engine.state('map', 1, 'test'),
      engine.state('bascule', 3, 'test'),
    ]);
    expect(engine.level).toBe(1);
    expect(taken.at(-1)).toBe('tunnels 1, read 1');
  });

  it('cannot lift what another holds', async () => {
    await engine.state('map', 2, 'test');
    await engine.state('console', 5, 'test');
    expect(engine.level).toBe(2);
    await engine.state('map', 5, 'test');
    expect(engine.level).toBe(5);
  });

  it('a tightening said while a relaxing is under way is the last word', async () => {
    await engine.state('console', 2, 'test');
    const relaxing = engine.state('console', 5, 'test');
    await Promise.all([relaxing, engine.state('map', 1, 'test')]);
    expect([engine.level, taken.slice(-4).map((line) => line.split(',')[0])]).toEqual([
      1,
      ['page 1', 'map 1', 'sessions 1', 'tunnels 1'],
    ]);
  });

  it.each(Array.from({ length: 12 }, (_, turns) => turns))(
    'a tightening said %i turns after a transition ended is followed',
    async (turns) => {
      const said = new Promise<void>((resolve) => {
        engine.onChange(({ to }) => {
          if (to === 4) later(turns, () => resolve(engine.state('map', 1, 'test')));
        });
      });
      await engine.state('console', 4, 'test');
      await said;
      expect(engine.level).toBe(1);
    },
  );
});

describe('a statement', () => {
  it('that expires gives the level back by itself', async () => {
    await engine.state('bascule', 3, 'test', 60_000);
    await clock.advance(59_999);
    expect(engine.level).toBe(3);
    await clock.advance(1);
    expect(engine.level).toBe(5);
  });

  it('that expires leaves what others hold', async () => {
    await engine.state('bascule', 1, 'test', 60_000);
    await engine.state('console', 3, 'test');
    await clock.advance(60_000);
    expect(engine.level).toBe(3);
  });

  it('renewed at the same level stands until its new expiry', async () => {
    await engine.state('bascule', 3, 'test', 60_000);
    await engine.state('bascule', 3, 'test', 120_000);
    await clock.advance(119_999);
    expect(engine.level).toBe(3);
    await clock.advance(1);
    expect(engine.level).toBe(5);
  });
});

describe('the host’s clock', () => {
  const HOURS = 5 * 3_600_000;

  it('attack: set forward by hours, ends no statement before its time', async () => {
    await engine.state('console', 2, 'test', 60_000);
    clock.setWall(clock.now() + HOURS);
    await engine.state('map', 4, 'looks at everything again');
    await clock.advance(59_999);
    expect(engine.level).toBe(2);
    await clock.advance(1);
    expect(engine.level).toBe(4);
  });

  it('set back by hours, lets none stand longer', async () => {
    await engine.state('console', 2, 'test', 60_000);
    clock.setWall(clock.now() - HOURS);
    await clock.advance(60_000);
    expect(engine.level).toBe(5);
  });

  it('as it is now tells a reader and the next run when a statement ends', async () => {
    const saved: (number | undefined)[] = [];
    const store = { save: async ({ statements }: KeptPosture) => void saved.push(expiryOf(statements)) };
    const own = new PostureEngine({ clock, log: silentLogger, store, initial: 5, firstEpoch: 1n });
    await own.state('console', 2, 'test', 60_000);
    const before = clock.now() + 60_000;
    clock.setWall(clock.now() + HOURS);
    await own.state('map', 4, 'saves again');
    expect(saved).toEqual([before, before + HOURS]);
    expect(own.sources.find(({ source }) => source === 'console')?.expiresAtMs).toBe(before + HOURS);
  });

  it('attack: set forward while nobody says anything, ends no lockdown for the next run', async () => {
    let saved: KeptPosture | undefined;
    const store = {
      save: async (posture: KeptPosture) => {
        saved = posture;
      },
    };
    const own = new PostureEngine({ clock, log: silentLogger, store, initial: 5, firstEpoch: 1n });
    await own.state('console', 1, 'test', HOURS / 2);
    clock.setWall(clock.now() + HOURS);
    await clock.advance(20_000);
    own[Symbol.dispose]();
    const next = new PostureEngine({ clock, log: silentLogger, store, initial: 5, firstEpoch: 1n, kept: saved });
    expect(next.level).toBe(1);
  });

  function expiryOf(statements: KeptPosture['statements']): number | undefined {
    return statements.get('console')?.statement.expiresAt;
  }
});

it('a disk that never answers holds nobody up who says something, and is told', async () => {
  const store = { save: () => new Promise<void>(() => undefined) };
  const own = new PostureEngine({ clock, log: silentLogger, store, initial: 5, firstEpoch: 1n });
  const said = own.hear({ source: 'bascule', level: 2, epoch: 1n, reason: 'test' });
  await clock.advance(2_000);
  expect([await said, own.level]).toEqual(['accepted', 2]);
  expect(own.problems).toEqual([expect.stringContaining('no answer in 2000 ms')]);
});

describe('a source with epochs of its own', () => {
  const said = (level: PostureLevel, epoch: bigint) => ({ source: 'bascule', level, epoch, reason: 'test' });

  it('attack: an old statement played again opens nothing, nor one under an epoch that is taken', async () => {
    await engine.hear(said(5, 7n));
    await engine.hear(said(2, 8n));
    expect(await Promise.all([engine.hear(said(5, 7n)), engine.hear(said(5, 8n))])).toEqual(['stale', 'stale']);
    expect(engine.level).toBe(2);
  });

  it('is not set aside for what whoever sets it aside has not seen', async () => {
    await engine.hear(said(2, 8n));
    await engine.hear(said(1, 9n));
    await expect(engine.setAside('bascule', 8n)).rejects.toThrow('POSTURE_CHANGED: bascule says level 1 now, epoch 9');
    await expect(engine.setAside('bascule', 10n)).rejects.toThrow('POSTURE_CHANGED');
    expect(engine.level).toBe(1);
    await engine.setAside('bascule', 9n);
    expect(engine.level).toBe(5);
  });

  it('may say again what it said last: who comes back is told where it stands', async () => {
    await engine.hear(said(2, 8n));
    expect([await engine.hear(said(2, 8n)), await engine.hear(said(3, 9n)), engine.level]).toEqual([
      'known',
      'accepted',
      3,
    ]);
  });
});

describe('the start', () => {
  it('applies the configured level in full before it resolves', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 3, firstEpoch: 1n });
    await own.start(stepsOf([step('page', own)], [step('sessions', own)]));
    expect(taken).toEqual(['page 3, read 3', 'sessions 3, read 3']);
    expect(own.sources).toMatchObject([{ source: 'initial', level: 3, governs: true }]);
  });

  it('applies all to what a source said in the turn before it', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    const said = own.state('timer', 3, 'test');
    await Promise.all([said, own.start(stepsOf([step('page', own)], [step('sessions', own)]))]);
    expect(taken).toEqual(['page 3, read 3', 'sessions 3, read 3']);
  });

  it('attack: a lockdown said while it runs is not undone by the rest of it', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    const starting = own.start(stepsOf([step('page', own), step('map', own)], [step('sessions', own)]));
    await Promise.all([starting, own.state('map', 1, 'test')]);
    const last = new Map(taken.map((line) => [line.split(' ')[0], line.split(' ')[1]]));
    expect(Object.fromEntries(last)).toEqual({ page: '1,', map: '1,', sessions: '1,' });
  });
});

describe('a step that cannot be taken', () => {
  it('and hangs holds up nothing behind it, and is taken again until it is', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    const stuck: { wake?: () => void } = {};
    let hangs = false;
    const page: PostureStep = {
      name: 'page',
      deadlineMs: 50,
      apply: (level) => {
        if (!hangs) return void taken.push(`page ${level}`);
        return new Promise<void>((wake) => {
          stuck.wake = wake;
        });
      },
    };
    await own.start(stepsOf([page], [step('sessions', own)]));
    [taken, hangs] = [[], true];
    const settled: (readonly string[])[] = [];
    own.onChange(({ unrealised }) => settled.push(unrealised));
    const said = own.state('console', 1, 'test');
    await clock.advance(50);
    await said;
    expect([taken, settled, own.unrealised]).toEqual([['sessions 1, read 1'], [['page']], ['page']]);
    hangs = false;
    await clock.advance(1_000);
    expect([taken.at(-1), own.unrealised]).toEqual(['page 1', []]);
    taken = [];
    // What it does so late may be of a level long gone.
    stuck.wake?.();
    await clock.advance(0);
    expect([taken, own.unrealised]).toEqual([['page 1'], []]);
  });

  it('is tried again though a source says the same every half second', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    let fails = true;
    const page: PostureStep = {
      name: 'page',
      apply: () => {
        if (fails) throw new Error('told to fail');
      },
    };
    await own.start(stepsOf([page], []));
    fails = false;
    for (let n = 0; n < 4; n += 1) {
      await own.state('bascule', 5, 'still normal');
      await clock.advance(500);
    }
    expect(own.unrealised).toEqual([]);
  });

  it('and hangs while others are tried again holds a lockdown up for no more than its deadline', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    const never = new Promise<void>(() => undefined);
    const hanging = ['page', 'map'].map((name) => ({
      name,
      deadlineMs: 50,
      apply: (level: PostureLevel) => {
        taken.push(`${name} ${level}`);
        return level === 5 ? never : undefined;
      },
    }));
    const starting = own.start(stepsOf(hanging, []));
    await clock.advance(100);
    await starting;
    await clock.advance(1_000);
    taken = [];
    void own.state('console', 1, 'test');
    await clock.advance(50);
    expect(taken).toEqual(['page 1', 'map 1']);
  });

  it('is tried less and less often', async () => {
    const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
    await own.start(stepsOf([step('page', own, 'page')], []));
    taken = [];
    await clock.advance(100_000);
    expect(taken.length).toBeGreaterThan(5);
    expect(taken.length).toBeLessThan(10);
  });
});

it('a stricter level said in the middle of a change waits for no step of it', async () => {
  const own = new PostureEngine({ clock, log: silentLogger, store: FORGETFUL, initial: 5, firstEpoch: 1n });
  let isSaid = false;
  const sessions: PostureStep = {
    name: 'sessions',
    apply: async (level) => {
      taken.push(`sessions ${level}`);
      if (level !== 3 || isSaid) return;
      isSaid = true;
      void own.state('map', 1, 'test');
    },
  };
  await own.start(stepsOf([step('page', own)], [sessions, step('tunnels', own)]));
  taken = [];
  await own.state('console', 3, 'test');
  expect(taken).toEqual(['page 3, read 5', 'sessions 3', 'page 1, read 3', 'sessions 1', 'tunnels 1, read 1']);
});

/** Notes the level it was told and the one that admission reads at that moment. */
function step(name: string, of?: PostureEngine, failing?: string): PostureStep {
  return {
    name,
    apply: async (level: PostureLevel) => {
      taken.push(`${name} ${level}, read ${(of ?? engine).level}`);
      await Promise.resolve();
      if (name === failing) throw new Error('told to fail');
    },
  };
}

function later(turns: number, action: () => void): void {
  if (turns === 0) action();
  else queueMicrotask(() => later(turns - 1, action));
}

function stepsOf(dataPlane: readonly PostureStep[], sessionLayer: readonly PostureStep[]): PostureSteps {
  return { dataPlane, admission: { name: 'admission', apply: () => undefined }, sessionLayer };
}
