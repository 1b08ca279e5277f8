/** What goes wrong on the host and at the other end, and what a gateway's posture is worth then. */
import { mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { GATEWAY_B, GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { writeNumber } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import { runHostile } from '../support/hostile/index.ts';
import { attempt, type Running, run } from '../support/processes.ts';
import { createWallClock, type WallClock } from '../support/wall-clock.ts';

const HOURS = 3_600;
const FOREIGN_WIREGUARD = fileURLToPath(new URL('../system/children/foreign-wireguard.ts', import.meta.url));

labSuite('posture under faults', { start: false }, (lab) => {
  const posture = async () => {
    using console = await lab().b.console();
    return await console.posture();
  };
  const set = async (level: PostureLevel, forMs?: number): Promise<void> => {
    using console = await lab().b.console();
    await console.setPosture({ level, reason: 'drill', forMs });
  };
  const setAside = async (source: string): Promise<void> => {
    using console = await lab().b.console();
    await console.setAside(source, 'drill');
  };
  /** Whatever the test before left running. */
  const stop = async (): Promise<void> => {
    await Promise.all([lab().a, lab().b].map((site) => site.stop()));
  };
  const reached = (): Promise<string> =>
    eventually('the granted target', () => lab().a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });

  /** What somebody else has beside the gateway, from before its first start. */
  let foreign: readonly string[];
  let others: Running | undefined;
  let clock: WallClock;

  const ofOthers = async (): Promise<readonly string[]> => {
    const { b } = lab();
    return [
      (await b.run('wg', 'show', `wg${b.options.instance}`, 'allowed-ips')).stdout,
      (await b.run('tc', 'filter', 'show', 'dev', 'wan', 'ingress', 'prio', '7')).stdout,
      (await b.run('ip', 'route', 'show', 'proto', 'static')).stdout,
    ];
  };

  beforeAll(async () => {
    const { b } = lab();
    const wireguard = `wg${b.options.instance}`;
    others = b.inside(process.execPath, [FOREIGN_WIREGUARD, wireguard]);
    await others.line(/^up$/);
    const filter = 'tc filter add dev wan ingress prio 7 handle 7 bpf bytecode'.split(' ');
    for (const [command = '', ...args] of [
      'tc qdisc add dev wan clsact'.split(' '),
      [...filter, '1,6 0 0 0,'],
      `ip route add 198.51.100.0/24 dev ${wireguard} proto static`.split(' '),
    ]) {
      expect(await b.run(command, ...args)).toMatchObject({ code: 0 });
    }
    foreign = await ofOthers();
    expect(foreign.join('\n')).toMatch(/198\.51\.100\.0\/24.*bytecode.*198\.51\.100\.0\/24/s);
  });

  afterAll(() => others?.[Symbol.asyncDispose]());

  test('a full disk holds no lockdown up, and SIGKILL does not lift what could not be written', async () => {
    const { b, directory } = lab();
    const disk = join(directory, 'disk');
    const filler = join(disk, 'filler');
    const places = { stateDirectory: join(disk, 'state'), evidence: 'off' };
    await mkdir(disk);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', disk]);
    try {
      await b.start(places);
      await set(4);
      await attempt('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1k', 'count=256']);
      // The last page of the journal has room for some changes yet.
      await eventually('a journal that does not fit', async () => {
        await b.setPosture(3);
        await b.setPosture(4);
        return (await posture()).problems.some((text) => /the journal.*ENOSPC/.test(text));
      });
      await set(2);
      expect(await b.postureInKernel()).toEqual([5, 2]);
      await b.kill();
      await b.start(places);
      expect(await posture()).toMatchObject({ effective: 2 });
      expect(await b.postureInKernel()).toEqual([5, 2]);
      await rm(filler);
      await set(5);
      await eventually('no problem left', async () => (await posture()).problems.length === 0);
    } finally {
      await b.stop();
      await run('umount', ['--lazy', disk]);
    }
  });

  test('a journal with a flipped byte is level 2 until that is set aside; a record cut off at its end costs nothing', async () => {
    const { b } = lab();
    const journal = join(b.options.directory, 'state', 'posture.journal');
    await stop();
    await b.start();
    await set(4);
    const afterCrash = async (damage: () => Promise<void>) => {
      await b.kill();
      await damage();
      await b.start();
      return await posture();
    };
    expect(await afterCrash(() => flipByte(journal, 100))).toMatchObject({ effective: 2 });
    expect(b.log).toMatch(/"problem":"record \d of the journal: it is damaged.*"msg":"what was kept of the posture/);
    expect((await posture()).sources.map(({ source }) => source).sort()).toEqual(['console', 'record']);
    await setAside('record');
    expect(await posture()).toMatchObject({ effective: 4 });
    const cut = await afterCrash(async () => await truncate(journal, (await readFile(journal)).length - 10));
    expect(cut).toMatchObject({ effective: 4 });
    expect(b.log).toMatch(/was cut off, and is left out/);
    await set(5);
    expect(await b.postureInKernel()).toEqual([5, 5]);
  });

  test('attack: a peer that claims 1, then 5, again and again, is alone in what it loses', async () => {
    const { a, b, directory } = lab();
    clock = await createWallClock(directory);
    await stop();
    await Promise.all([b.start({}, clock), a.start()]);
    await reached();
    const honest = await a.person({ path: '/people/honest', tier: 'journeyman' });
    const hostile = await a.person({ path: '/people/flapping', tier: 'journeyman' });
    await using connected = a.startConnect(honest, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    await connected.line(/"listening"/);
    const before = (await b.sessions()).map(({ id }) => id).sort();
    const visit = { workloadApi: hostile.socketPath, url: 'ws://10.77.0.2:7843/', gatewayId: GATEWAY_B };
    // Each session ends at the first 1; one that begins with it is not granted.
    expect(await runHostile(a, 'flapping', { ...visit, rounds: ROUNDS })).toEqual({
      sessions: ROUNDS,
      refused: ROUNDS,
    });
    expect(await posture()).toMatchObject({ effective: 5 });
    expect(await b.postureInKernel()).toEqual([5, 5]);
    await eventually('its sessions gone', async () => (await b.sessions()).length === before.length);
    expect((await b.sessions()).map(({ id }) => id).sort()).toEqual(before);
    // The mesh peer itself: its last word is 5, and one session and one peer are left.
    for (let round = 0; round < ROUNDS; round += 1) {
      await a.setPosture(1);
      await a.setPosture(5);
    }
    await reached();
    await eventually('one session, at 5', async () => {
      expect(await b.sessions('mesh')).toHaveLength(1);
      expect(await b.peerLevelsInKernel()).toEqual([5]);
      expect((await b.run('wg', 'show', b.interfaceName, 'peers')).stdout.trim().split('\n')).toHaveLength(1);
      return true;
    });
    expect(await b.postureInKernel()).toEqual([5, 5]);
  });

  test('a clock that jumps hours, ahead and back, lifts no level; sessions that it makes look expired end, and come again', async () => {
    const { b } = lab();
    await set(3, HOURS * 1000);
    await clock.set(6 * HOURS);
    await b.gateway.line(/"reason":"(SVID_)?EXPIRED".*"msg":"session (ended|was taken)/);
    await eventually('no session', async () => (await b.sessions()).length === 0);
    // Another word makes it look at all of them again.
    await writeNumber(`${b.pins}/posture_level`, 0, 4);
    await eventually('the word of the map', async () => (await posture()).sources.some(({ level }) => level === 4));
    expect(await posture()).toMatchObject({ effective: 3 });
    await writeNumber(`${b.pins}/posture_level`, 0, 5);
    await clock.set(-6 * HOURS);
    expect(await posture()).toMatchObject({ effective: 3 });
    expect(await b.postureInKernel()).toEqual([5, 3]);
    await clock.set(0);
    await reached();
    expect(await posture()).toMatchObject({ effective: 3 });
    await set(5);
  });

  test('SVIDs that expired during level 1: the console brings the level back, nobody comes in until there are new ones', async () => {
    const { a, b, domains } = lab();
    const short = await domains.b.register({
      path: '/gateway',
      tier: 'master',
      x509TtlMs: SHORT_MS,
      socket: 'short.sock',
    });
    await stop();
    await b.start({ workloadApi: { socket: short.socketPath } });
    await set(1);
    await domains.b.killAgent();
    try {
      await eventually('an SVID that expired', async () => {
        const { identity } = await b.json<{ identity: { svidExpiresAtMs: number } }>('status');
        return identity.svidExpiresAtMs < Date.now();
      });
      await set(5);
      expect(await b.postureInKernel()).toEqual([5, 5]);
      await a.start();
      await a.gateway.line(/"msg":"dialling failed"/);
      expect(await b.sessions()).toEqual([]);
    } finally {
      await domains.b.startAgent();
    }
    await reached();
  });

  test('a restart at level 1 where SPIRE is cut off: the console is there, and brings the level back', async () => {
    const { a, b, domains } = lab();
    await stop();
    const push = { spiffeId: 'spiffe://site-b.test/bascule', push: { address: '127.0.0.1:7851' } };
    await b.start({ posture: { bascule: push } });
    await set(1);
    await domains.b.killAgent();
    try {
      await b.kill();
      await b.start({ posture: { bascule: push } });
      expect(await posture()).toMatchObject({ effective: 1 });
      await set(5);
      expect(await b.postureInKernel()).toEqual([5, 5]);
      expect(await b.json('status')).not.toHaveProperty('spiffeId');
    } finally {
      await domains.b.startAgent();
    }
    await a.start();
    await reached();
  });

  test('WireGuard peers, tc programs and routes of others stayed through all of that', async () => {
    await stop();
    expect(await ofOthers()).toEqual(foreign);
  });
});

const ROUNDS = 10;
const SHORT_MS = 3_000;

async function flipByte(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
