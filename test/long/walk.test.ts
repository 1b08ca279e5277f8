/**
 * The walk: two sites from 5 to 1 and back, with two hundred sessions of all types, tiers and modes. What each level is to
 * be stands in `test/walk/table.ts`; here it is seen from outside, row by row.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { GATEWAY_B, HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import type { Running } from '../support/processes.ts';
import { Crowd } from '../walk/crowd.ts';
import {
  flows,
  inBoth,
  isPinging,
  keepalives,
  notarisedAt,
  overlayRoutes,
  passing,
  startReader,
  underlayRoutes,
} from '../walk/outside.ts';
import { Population } from '../walk/population.ts';
import { APPROVED, MONITORING_PORT, openStreet, placesOf } from '../walk/street.ts';
import { LEVELS } from '../walk/table.ts';
import { changed, layRoutes, proposers } from '../walk/underlay.ts';

const STEPS = [5, 4, 3, 2, 1, 2, 3, 4, 5] as const;
/** A critical session that lives at every level but 1, and may reach whatever the level leaves. */
const REACHING = 'health-monitoring site_owner overlay';

labSuite('the walk, 5 to 1 and back', { start: false }, (lab) => {
  const parts = new AsyncDisposableStack();
  let population: Population;
  let page: Running;
  let wire: Capture;

  beforeAll(async () => {
    const { a, b, directory } = lab();
    parts.use(await openStreet(lab()));
    await layRoutes(b);
    population = parts.use(await Population.settle(a));
    page = parts.use(await startReader(b, directory));
    wire = parts.use(await Capture.start(a.namespace, 'wan', join(directory, 'wan.pcap')));
  });

  afterAll(() => parts.disposeAsync());

  for (const [step, level] of STEPS.entries()) {
    const row = LEVELS[level];
    const before = STEPS[step - 1] ?? level;

    test(`${before === level ? 'at' : `${before} to`} ${level}`, async () => {
      const { a, b } = lab();
      if (level < before) await fall(level);
      if (level > before) await rise(before, level);

      // Shared memory, for other programs: the map, and the page (P6, P7).
      expect(await b.postureInKernel()).toEqual([5, level]);
      expect(await eventually('the page', () => lastLine(page).includes(row.dataPlane))).toBe(true);

      // The mesh and its routes, at the dialler (P1, P4).
      await become('routes into the tunnel', () => overlayRoutes(a), inBoth(row.overlayRoutes));
      await become('peers in the tunnel', () => keepalives(a), row.mesh === 'connected' ? ['25'] : []);
      await become('peers at site-b', async () => (await keepalives(b)).length, row.mesh === 'connected' ? 1 : 0);
      await become('flows at site-b', async () => (await flows(b)) > 0, row.mesh === 'connected');

      // The underlay (P2, P4).
      await become('routes of the underlay', () => underlayRoutes(b), row.underlayRoutes);
      expect([await changed(b, `10.36.${step}.0/24`), await changed(b, APPROVED, 'management')]).toEqual(row.changes);
      expect(await proposers(b)).toEqual(row.proposals);

      if (row.isolated) {
        await expectIsolation();
        return;
      }
      const openedBefore = population.opened[level];
      const logged = countOpened(b.log);
      const newcomers = await population.admit(level, `of ${step}`, ({ count }) => (step === 0 ? count : 1));
      const audiences = row.sat === 'fresh' ? [`${GATEWAY_B}#…`] : [GATEWAY_B];
      expect(newcomers).toEqual({ surprises: [], audiences });
      // Every new session is logged (P3 at 4), and those that live are all that the gateway has.
      const known = population.opened[level] - openedBefore;
      await eventually('each in the log', () => countOpened(b.log) >= logged + known);
      if (step === 0) expect(population.size).toBeGreaterThanOrEqual(200);
      await become('who is left at site-b', async () => (await b.sessions()).length, population.size + 1);
      expect(await population.reaches(REACHING)).toEqual(inBoth(row.passes));

      const inLog = await eventually('sessions in the log', async () => {
        const found = await notarisedAt(b, level);
        return found.size >= (row.notarised === 'all' ? population.opened[level] : 1) && found;
      });
      expect(inLog.size < population.opened[level]).toBe(row.notarised === 'some');
    });
  }

  async function fall(level: PostureLevel): Promise<void> {
    const { a, b } = lab();
    await using work = level === 3 ? await workUnderWay() : undefined;
    await Promise.all([b.setPosture(level), work?.end()]);
    await become('who is left', () => population.strangeFarewells(level), []);
    // Site-a is at the level above still: it is site-b that lets nothing else pass.
    await expectPassing(level);
    if (level === 1) await expectHeld();
    await a.setPosture(level);
  }

  async function rise(before: PostureLevel, level: PostureLevel): Promise<void> {
    const { a, b } = lab();
    await a.setPosture(level);
    await b.setPosture(level);
    if (before === 1) {
      using console = await a.console();
      expect(await console.releasePeer('site-b', 'drill')).toBe(true);
    }
    await expectPassing(level);
    // What a rising level does to a session: nothing.
    expect(await population.strangeFarewells(level)).toEqual([]);
  }

  /** All of it, sooner or later, while tunnels are keyed anew; and at no time anything else. */
  async function expectPassing(level: PostureLevel): Promise<void> {
    const expected = inBoth(LEVELS[level].passes);
    const leaks: string[] = [];
    await eventually(`${expected.join(', ') || 'nothing'} passes`, async () => {
      const seen = await passing(lab().a);
      leaks.push(...seen.filter((one) => !expected.includes(one)));
      return expected.every((one) => seen.includes(one));
    });
    expect(leaks).toEqual([]);
  }

  /** An apprentice's stream that is open when 3 drains its session: its last word is heard, and answered. */
  async function workUnderWay() {
    const { a } = lab();
    const worker = new Crowd(a, { address: '10.77.0.2', port: 7843 }, GATEWAY_B);
    const [place = { address: HOST, port: PORTS.granted }] = placesOf('ordinary');
    const workloadApi = population.socketOf('apprentice');
    const name = 'work under way';
    const asked = { type: 'workload', mode: 'overlay', capabilities: ['CONNECT', 'PROPOSE'] } as const;
    await worker.open([{ name, workloadApi, ...asked, targets: [place] }]);
    expect(await worker.begin(name, place)).toBe(`hello ${PORTS.granted}`);
    return {
      end: async () => {
        const fate = async () => (await worker.fates()).get(name);
        await eventually('a drain', async () => (await fate())?.drains.length === 1);
        expect(await worker.finish(name)).toBe('a last word');
        await eventually('its end', async () => (await fate())?.end === 'POSTURE_DRAIN by the gateway');
      },
      [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
    };
  }

  /** The other site knows that it was posture, and keeps away. */
  async function expectHeld(): Promise<void> {
    using console = await lab().a.console();
    const peer = await eventually('the hold', async () => {
      const [first] = await console.peers();
      return first?.state === 'held' && first;
    });
    expect(peer.hold).toMatchObject({ cause: 'drain' });
  }

  /** Of both sites, at level 1. */
  async function expectIsolation(): Promise<void> {
    const { a, b, host } = lab();
    const inward = await Promise.all([
      isPinging(a, '10.77.0.2'),
      isPinging(a, 'fd77::2'),
      a.greeting('10.77.0.2', 7843),
      host.attempt('ping', ['-c1', '-W1', '10.2.0.1']).then(({ code }) => code === 0),
    ]);
    expect(inward).toEqual([false, false, undefined, false]);
    // The last word is over by now: from here on nothing at all is on the wire.
    const silence = (await wire.packets()).length;
    const outward = await Promise.all([
      isPinging(b, '10.77.0.1'),
      isPinging(b, 'fd77::1'),
      isPinging(a, '10.77.0.2'),
      b.greeting('10.77.0.1', 7843),
    ]);
    expect(outward).toEqual([false, false, false, undefined]);
    expect((await wire.packets()).length).toBe(silence);
    // Read-only monitoring is what passes.
    const monitored = await host.attempt('nc', ['-w1', '-N', '10.2.0.1', String(MONITORING_PORT)], { input: '' });
    expect(monitored.stdout.trim()).toBe(`hello ${MONITORING_PORT}`);
    // Who is on the host itself reaches the gateway's port still, and learns nothing there.
    const loopback = ['--gateway', '127.0.0.1:7843', '--gateway-id', GATEWAY_B, '--ping'];
    const refused = await b.verb('connect', '--workload-api', population.socketOf('site_owner'), ...loopback);
    expect(`${refused.code} ${refused.stderr}`).toMatch(/^1 shellstream: CONNECTION_LOST: .*socket hang up/);
    expect(await b.sessions()).toEqual([]);
  }
});

async function become<T>(what: string, ask: () => Promise<T>, expected: T): Promise<void> {
  await eventually(
    `${what}: ${JSON.stringify(expected)}`,
    async () => {
      const seen = await ask();
      if (JSON.stringify(seen) !== JSON.stringify(expected)) throw new Error(JSON.stringify(seen));
      return true;
    },
    // Two hundred sessions attest anew.
    { withinMs: 60_000 },
  );
}

function countOpened(log: string): number {
  return [...log.matchAll(/"msg":"session opened"/g)].length;
}

function lastLine(process: Running): string {
  return process.sofar().stdout.trim().split('\n').at(-1) ?? '';
}
