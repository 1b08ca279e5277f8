import { describe, expect, test } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { formatPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { APPRENTICE, adding, MASTER, MemoryHost, OWNER, spec } from './fixtures.ts';
import type { GovernedRoutes } from './governed-routes.ts';

const ORDINARY_OF_APPRENTICE = '10.8.0.0/24';
const ORDINARY_OF_MASTER = '10.9.0.0/24';
const MANAGEMENT = '10.5.0.0/24';
const MONITORING = '10.7.0.0/24';
const ALL = [ORDINARY_OF_APPRENTICE, ORDINARY_OF_MASTER, MANAGEMENT, MONITORING];

/** A run at 5 with one route of each kind, and foreign ones beside. */
async function furnished() {
  const host = await MemoryHost.create();
  const routes = host.start(5);
  await routes.apply(5);
  await routes.change({ change: adding(spec(ORDINARY_OF_APPRENTICE)), owner: APPRENTICE, by: OWNER });
  await routes.change({ change: adding(spec(ORDINARY_OF_MASTER)), owner: MASTER, by: MASTER });
  await routes.change({ change: adding(spec(MANAGEMENT), { class: 'management' }), owner: OWNER, by: OWNER });
  await routes.change({ change: adding(spec(MONITORING), { class: 'monitoring' }), owner: OWNER, by: OWNER });
  const ifindex = await host.link('lan');
  host.network.addForeignRoute({ destination: parsePrefix('192.0.2.0/24'), ifindex, table: 254 });
  return { host, routes };
}

async function live({ network }: MemoryHost): Promise<readonly string[]> {
  return (await network.routes()).map(({ destination }) => formatPrefix(destination)).sort();
}

const refusal = (attempt: Promise<unknown>): Promise<string> => attempt.then(() => 'none', reasonOf);
const kinds = (routes: GovernedRoutes): readonly string[] => routes.differences.map(({ kind }) => kind);

describe('5 to 1 and back', () => {
  const LADDER: readonly [PostureLevel, readonly string[]][] = [
    [5, ALL],
    [4, ALL],
    [3, [ORDINARY_OF_MASTER, MANAGEMENT, MONITORING]],
    [2, [MANAGEMENT, MONITORING]],
    [1, [MONITORING]],
    [2, [MANAGEMENT, MONITORING]],
    [3, [ORDINARY_OF_MASTER, MANAGEMENT, MONITORING]],
    [4, ALL],
    [5, ALL],
  ];

  test('each level leaves its routes, the foreign one stays, and at 5 all is as it was', async () => {
    const { host, routes } = await furnished();
    const before = host.network.allRoutes().length;
    for (const [level, left] of LADDER) {
      await routes.apply(level);
      expect([level, await live(host)]).toEqual([level, [...left].sort()]);
      expect(host.network.allRoutes().map(({ destination }) => formatPrefix(destination))).toContain('192.0.2.0/24');
      expect(kinds(routes)).toEqual([]);
    }
    expect(host.network.allRoutes()).toHaveLength(before);
    expect(host.records.snapshot.value).toBeUndefined();
  });

  test('in one jump, as often as it is asked', async () => {
    const { host, routes } = await furnished();
    for (const level of [1, 1, 5, 5, 2, 5] as const) await routes.apply(level);
    expect(await live(host)).toEqual([...ALL].sort());
  });

  test.each(LADDER)('a preview of %i says, from every level, what then happens', async (level) => {
    for (const from of [5, 4, 3, 2, 1] as const) {
      const { host, routes } = await furnished();
      await routes.apply(from);
      const before = await live(host);
      const { add, remove } = await routes.preview(level);
      expect(await live(host)).toEqual(before);
      await routes.apply(level);
      const after = await live(host);
      const taken = before.filter((one) => !after.includes(one));
      const given = after.filter((one) => !before.includes(one));
      const words = (all: typeof add): string[] => all.map(({ destination }) => formatPrefix(destination)).sort();
      expect([from, words(remove), words(add)]).toEqual([from, taken, given]);
    }
  });

  test('a preview gives nothing back that somebody took away before 5 was left', async () => {
    const { host, routes } = await furnished();
    await host.network.removeRoutes(await host.network.routes());
    expect(await routes.preview(4)).toEqual({ add: [], remove: [] });
    await routes.apply(4);
    expect(await live(host)).toEqual([]);
    expect(await routes.preview(5)).toEqual({ add: [], remove: [] });
  });

  test.each(LADDER)('a run that died at any level goes on at %i with what that leaves', async (level, left) => {
    for (const died of [5, 3, 1] as const) {
      const { host, routes } = await furnished();
      await routes.apply(died);
      await host.start(level).apply(level);
      expect(await live(host)).toEqual([...left].sort());
    }
  });

  test('after a reboot, with a kernel that has none, those of the level are there', async () => {
    const { host, routes } = await furnished();
    await routes.apply(3);
    await host.network.removeRoutes(await host.network.routes());
    const next = host.start(3);
    await next.apply(3);
    expect(await live(host)).toEqual([ORDINARY_OF_MASTER, MANAGEMENT, MONITORING].sort());
    await next.apply(5);
    expect(await live(host)).toEqual([...ALL].sort());
  });
});

describe('the snapshot', () => {
  test('says what the kernel had, and what each stage took and gave', async () => {
    const { host, routes } = await furnished();
    for (const level of [3, 2, 3] as const) await routes.apply(level);
    expect(host.records.snapshot.value?.routes).toHaveLength(4);
    const stages = host.records.snapshot.value?.stages ?? [];
    expect(stages.map(({ level, added, removed }) => [level, added.length, removed.length])).toEqual([
      [3, 0, 1],
      [2, 0, 1],
      [3, 1, 0],
    ]);
  });

  test('is of what the kernel had when it was taken, before anything goes; taken again it stays', async () => {
    const { host, routes } = await furnished();
    await routes.takeSnapshot(2);
    expect(await live(host)).toEqual([...ALL].sort());
    expect(host.records.snapshot.value?.routes).toHaveLength(4);
    await host.network.removeRoutes(await host.network.routes());
    await routes.takeSnapshot(2);
    for (const level of [2, 5] as const) await routes.apply(level);
    expect(await live(host)).toEqual([...ALL].sort());
  });

  test('of a level that went back to 5 before the routes were come to is over', async () => {
    const { host, routes } = await furnished();
    await routes.takeSnapshot(2);
    await routes.apply(5);
    expect(routes.snapshot.value).toBeUndefined();
    const gone = (await host.network.routes()).filter((route) => formatPrefix(route.destination) === MANAGEMENT);
    await host.network.removeRoutes(gone);
    for (const level of [4, 5] as const) await routes.apply(level);
    expect(await live(host)).not.toContain(MANAGEMENT);
  });

  test('is taken on leaving 5 alone', async () => {
    const { routes } = await furnished();
    await routes.takeSnapshot(5);
    expect(routes.snapshot.value).toBeUndefined();
    await routes.apply(4);
    const taken = routes.snapshot.value?.takenAtMs;
    await routes.takeSnapshot(2);
    expect(routes.snapshot.value?.takenAtMs).toBe(taken);
  });

  test('a full disk keeps no route that the level takes away', async () => {
    const { host, routes } = await furnished();
    host.records.snapshot.failure = new Error('ENOSPC');
    await routes.apply(1);
    expect(await live(host)).toEqual([MONITORING]);
    expect(routes.snapshot.problem).toContain('ENOSPC');
    await routes.apply(5);
    expect(await live(host)).toEqual([...ALL].sort());
  });

  test('a disk that hangs keeps none either', async () => {
    const { host, routes } = await furnished();
    host.records.snapshot.save = () => new Promise<void>(() => {});
    const applied = routes.apply(1);
    await host.clock.advance(2_000);
    await applied;
    expect(await live(host)).toEqual([MONITORING]);
  });

  test('that cannot be taken before is taken with the routes', async () => {
    const { host, routes } = await furnished();
    const list = host.network.routes;
    host.network.routes = async () => {
      throw new ShellstreamError('DATAPLANE_FAILED');
    };
    expect(await refusal(routes.takeSnapshot(1))).toBe('DATAPLANE_FAILED');
    host.network.routes = list;
    await routes.apply(1);
    expect(routes.snapshot.value?.routes).toHaveLength(4);
  });

  test('that is not on disk in time keeps no route either', async () => {
    const { host, routes } = await furnished();
    host.records.snapshot.save = () => new Promise<void>(() => {});
    const taken = routes.takeSnapshot(1);
    await host.clock.advance(2_000);
    await taken;
    await routes.apply(1);
    expect(await live(host)).toEqual([MONITORING]);
    expect(routes.snapshot.value?.routes).toHaveLength(4);
  });

  test('what somebody took away before it does not come back, and is told', async () => {
    const { host, routes } = await furnished();
    const gone = (await host.network.routes()).filter((route) => formatPrefix(route.destination) === MANAGEMENT);
    await host.network.removeRoutes(gone);
    for (const level of [1, 5, 5] as const) await routes.apply(level);
    expect(await live(host)).not.toContain(MANAGEMENT);
    expect(kinds(routes)).toEqual(['drifted']);
    await routes.change({ change: adding(spec(MANAGEMENT), { class: 'management' }), owner: OWNER, by: OWNER });
    expect(await live(host)).toContain(MANAGEMENT);
  });
});

describe('what differs', () => {
  test('an owner that lost its tier meanwhile gets nothing back', async () => {
    const { host, routes } = await furnished();
    await routes.apply(1);
    host.gone.add(MASTER.subject);
    await routes.apply(5);
    expect(await live(host)).not.toContain(ORDINARY_OF_MASTER);
    expect(kinds(routes)).toEqual(['not-authorised']);
  });

  test('is seen between transitions, and what is not authorised goes', async () => {
    const { host, routes } = await furnished();
    host.gone.add(MASTER.subject);
    await host.clock.advance(300_000);
    expect(await live(host)).not.toContain(ORDINARY_OF_MASTER);
    expect(kinds(routes)).toEqual(['not-authorised']);
  });

  test('a foreign route in the place of one of ours keeps no other from coming back', async () => {
    const { host, routes } = await furnished();
    await routes.apply(1);
    const ifindex = await host.link('wan');
    host.network.addForeignRoute({ destination: parsePrefix(MANAGEMENT), ifindex, table: 254 });
    await routes.apply(5);
    expect(await live(host)).toEqual(ALL.filter((one) => one !== MANAGEMENT).sort());
    expect(kinds(routes)).toEqual(['not-added']);
  });

  test('a route of another instance is told and stays at every level, also when ours go', async () => {
    const { host, routes } = await furnished();
    const ifindex = await host.link('wan');
    await host.network.addRoutes([{ destination: parsePrefix('10.66.0.0/24'), ifindex, table: 254 }]);
    for (const level of [1, 5] as const) {
      await routes.apply(level);
      expect(kinds(routes)).toEqual(['unrecorded']);
    }
    await routes[Symbol.asyncDispose]();
    expect(await live(host)).toEqual(['10.66.0.0/24']);
  });

  test('routes of tunnels are not ours to judge', async () => {
    const { host, routes } = await furnished();
    const ifindex = await host.link('shsa-0');
    await host.network.addRoutes([{ destination: parsePrefix('10.66.0.0/24'), ifindex, table: 254 }]);
    await routes.apply(1);
    expect(await live(host)).toEqual([MONITORING, '10.66.0.0/24'].sort());
  });
});

describe('a change', () => {
  test('is witnessed before the kernel has it, and its outcome after', async () => {
    const host = await MemoryHost.create();
    const routes = host.start(5);
    let atIntent: readonly string[] = ['not asked'];
    host.beforeIntent = () => {
      atIntent = host.network.allRoutes().map(({ destination }) => formatPrefix(destination));
    };
    await routes.change({ change: adding(spec(MANAGEMENT), { class: 'management' }), owner: OWNER, by: OWNER });
    expect(atIntent).toEqual([]);
    expect(host.witnessed).toMatchObject([{ action: 'add', by: OWNER }, { kind: 'done' }]);
  });

  test('does not happen when its intent cannot be kept', async () => {
    const host = await MemoryHost.create();
    const routes = host.start(5);
    host.beforeIntent = () => {
      throw new ShellstreamError('EVIDENCE_FULL');
    };
    const change = adding(spec(MANAGEMENT), { class: 'management' });
    expect(await refusal(routes.change({ change, owner: OWNER, by: OWNER }))).toBe('EVIDENCE_FULL');
    expect(await live(host)).toEqual([]);
  });

  test('is judged again by the level that fell while its intent was kept', async () => {
    const host = await MemoryHost.create();
    const routes = host.start(5);
    let applied: Promise<void> | undefined;
    host.beforeIntent = () => {
      applied = routes.apply(1);
    };
    const change = adding(spec(MANAGEMENT), { class: 'management' });
    expect(await refusal(routes.change({ change, owner: OWNER, by: OWNER }))).toBe('POSTURE_MODE_NOT_ALLOWED');
    await applied;
    expect(await live(host)).toEqual([]);
    expect(host.witnessed).toMatchObject([{ action: 'add' }, { kind: 'failed' }]);
  });

  test.each([
    ['owner', APPRENTICE],
    ['who has it carried out', MASTER],
  ])('attack: is refused when its %s was revoked while its intent was kept', async (_, { subject }) => {
    const host = await MemoryHost.create();
    const routes = host.start(5);
    host.beforeIntent = () => void host.gone.add(subject);
    const change = adding(spec('10.9.0.0/24'));
    expect(await refusal(routes.change({ change, owner: APPRENTICE, by: MASTER }))).toBe('TIER_UNKNOWN');
    expect(await live(host)).toEqual([]);
    expect(routes.recorded).toEqual([]);
    expect(host.witnessed).toMatchObject([{ action: 'add' }, { kind: 'failed', reason: 'TIER_UNKNOWN' }]);
  });

  test('attack: never reaches the kernel when its owner was revoked while it was recorded', async () => {
    const host = await MemoryHost.create();
    const routes = host.start(5);
    host.records.routes.before = () => void host.gone.add(APPRENTICE.subject);
    let calls = 0;
    const { addRoutes } = host.network;
    host.network.addRoutes = (added) => {
      calls += added.length;
      return addRoutes.call(host.network, added);
    };
    const change = adding(spec('10.9.0.0/24'));
    expect(await refusal(routes.change({ change, owner: APPRENTICE, by: OWNER }))).toBe('TIER_UNKNOWN');
    expect(calls).toBe(0);
    expect(routes.recorded).toEqual([]);
    expect(host.records.routes.value).toEqual([]);
    expect(host.witnessed).toMatchObject([{ action: 'add' }, { kind: 'failed', reason: 'TIER_UNKNOWN' }]);
  });

  test('leaves nothing in the kernel when it cannot be recorded, before or after', async () => {
    for (const failing of [1, 2]) {
      const host = await MemoryHost.create();
      const routes = host.start(5);
      let saves = 0;
      host.records.routes.before = () => {
        saves += 1;
        host.records.routes.failure = saves === failing ? new Error('ENOSPC') : undefined;
      };
      expect(await refusal(routes.change({ change: adding(spec('10.9.0.0/24')), owner: OWNER, by: OWNER }))).toBe(
        'INTERNAL',
      );
      expect(await live(host)).toEqual([]);
      expect(routes.recorded).toEqual([]);
    }
  });

  test('cut off between intent and outcome is undone by the next run, whichever way it went', async () => {
    const { host, routes } = await furnished();
    const [first, second, ...rest] = host.records.routes.value ?? [];
    if (first === undefined || second === undefined) throw new Error('nothing was recorded');
    host.records.routes.value = [{ ...first, state: 'adding' }, { ...second, state: 'removing' }, ...rest];
    host.witnessed.length = 0;
    const next = host.start(5);
    await next.apply(5);
    expect(await live(host)).toEqual([MANAGEMENT, MONITORING]);
    expect(host.witnessed).toEqual([
      { id: first.id, kind: 'undone' },
      { id: second.id, kind: 'done' },
    ]);
    expect(host.records.routes.value).toHaveLength(2);
    await routes[Symbol.asyncDispose]();
  });

  test('puts no route into a tunnel or the loopback, and none where another route is', async () => {
    const { host, routes } = await furnished();
    const ask = (destination: string, link: string) =>
      refusal(routes.change({ change: adding(spec(destination, link)), owner: OWNER, by: OWNER }));
    expect(await ask('10.66.0.0/24', 'shsa-0')).toBe('PREFIX_NOT_ALLOWED');
    expect(await ask('10.66.0.0/24', 'lo')).toBe('PREFIX_NOT_ALLOWED');
    expect(await ask('10.66.0.0/24', 'eth7')).toBe('MALFORMED');
    expect(await ask(ORDINARY_OF_MASTER, 'wan')).toBe('PREFIX_OVERLAP');
    expect(await ask('192.0.2.0/24', 'lan')).toBe('DATAPLANE_FAILED');
    expect(await live(host)).toEqual([...ALL].sort());
  });

  test('a removed route is in no snapshot and does not come back', async () => {
    const { host, routes } = await furnished();
    await routes.apply(3);
    const change = { ...adding(spec(ORDINARY_OF_MASTER)), action: 'remove' } as const;
    await routes.change({ change, owner: MASTER, by: MASTER });
    await routes.apply(5);
    expect(await live(host)).not.toContain(ORDINARY_OF_MASTER);
    expect(kinds(routes)).toEqual([]);
  });
});

test('a record that cannot be read authorises nothing: what the kernel has of ours goes', async () => {
  const { host } = await furnished();
  host.records.routes.value = undefined;
  host.records.routes.problem = 'damaged';
  await host.start(5).apply(5);
  expect(await live(host)).toEqual([]);
});

test('an orderly end leaves no route of ours, and the next run brings them back', async () => {
  const { host, routes } = await furnished();
  await routes[Symbol.asyncDispose]();
  expect(await live(host)).toEqual([]);
  await host.start(5).apply(5);
  expect(await live(host)).toEqual([...ALL].sort());
});
