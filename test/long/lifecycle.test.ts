/** What a gateway leaves behind, whose things it touches, and who may run beside it. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite, startBoth } from '../lab/lab-suite.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { remainsOf } from '../lab/remains.ts';
import { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';

labSuite('the life of a gateway', { start: false, leaseSeconds: 3 }, (lab) => {
  /** Site-a dials the more seldom the longer the other was away. */
  const reached = (): Promise<string> =>
    eventually('the granted target', () => lab().a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });

  afterEach(async () => {
    await lab().a.stop();
    await lab().b.stop();
  });

  test('SIGTERM takes everything with it, and peers are told', async () => {
    const { a, b } = lab();
    await startBoth(lab());
    await reached();
    await using events = a.events();
    await eventually('the events of site-a', async () => {
      await a.greeting(HOST, PORTS.ungranted);
      return events.find('denied') !== undefined;
    });
    const end = await b.stop();
    expect(end).toMatchObject({ code: 0 });
    expect(await remainsOf(b)).toEqual({
      devices: [],
      controlSockets: [],
      pinnedLinks: [],
      ownRoutes: [],
      foreignRoutes: [],
    });
    const ended = await eventually('the end of the session at site-a', () => events.find('session-ended'));
    expect(ended).toMatchObject({ reason: 'SHUTTING_DOWN', byPeer: true });
    await eventually('a ping', async () => (await a.run('ping', '-c1', '-W1', '10.77.0.2')).code === 0);
  });

  test('SIGKILL leaves filters and maps, and the next start none of them; sessions open again', async () => {
    const { a, b } = lab();
    await startBoth(lab());
    await reached();
    await b.kill();
    const left = await remainsOf(b);
    expect(left.pinnedLinks.length).toBeGreaterThan(0);
    await b.run('ip', 'route', 'add', '198.51.100.0/24', 'via', HOST, 'proto', '83');
    await b.start();
    await reached();
    const now = await remainsOf(b);
    const filtered = await Promise.all([b.interfaceName, 'wan', 'lan'].map((name) => b.ifindex(name)));
    expect(now).toEqual({
      devices: [b.interfaceName],
      controlSockets: [`${b.interfaceName}.sock`],
      pinnedLinks: filtered.flatMap((ifindex) => [`${ifindex}-in`, `${ifindex}-out`]).sort(),
      ownRoutes: ['10.99.0.1'],
      foreignRoutes: [],
    });
    expect(await a.sessions('mesh')).toHaveLength(1);
  });

  test('a level outlives a crash: the console said it, and the next start knows', async () => {
    const { b } = lab();
    await b.start();
    await b.shellstream('posture', 'set', '2', '--reason', 'incident');
    await b.kill();
    await b.start();
    const { stdout } = await b.shellstream('posture', 'get', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ effective: 2, sources: [{ source: 'console', reason: 'incident' }] });
    await b.shellstream('posture', 'set', '5', '--reason', 'over');
  });

  test('a host that reboots at level 1 comes up at level 1, before there is a gateway', async () => {
    const { a, b } = lab();
    await b.start();
    const isReached = async (): Promise<boolean> => (await a.run('ping', '-c1', '-W1', '10.77.0.2')).code === 0;
    await eventually('the host is reached', isReached);
    await b.shellstream('posture', 'set', '1', '--reason', 'intrusion');
    await b.kill();
    // What a reboot takes: programs, maps, pins.
    await b.run('rm', '-r', b.pins);
    await eventually('the filter is gone', isReached);
    const restored = await b.run(process.execPath, b.program, 'posture', 'restore', '--config', b.configPath);
    expect(restored).toMatchObject({ code: 0 });
    expect(await isReached()).toBe(false);
    await b.start();
    expect(await isReached()).toBe(false);
    const { stdout } = await b.shellstream('posture', 'set', '5', '--reason', 'over', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ effective: 5 });
    await eventually('the host is reached again', isReached);
  });

  test('routes of others stand through start, sessions and end', async () => {
    const { b } = lab();
    const foreign = ['203.0.113.0/24', 'fd42::/64'];
    await b.run('ip', 'route', 'add', '203.0.113.0/24', 'via', HOST, 'proto', 'static');
    await b.run('ip', '-6', 'route', 'add', 'fd42::/64', 'dev', 'lan', 'proto', 'static');
    try {
      await startBoth(lab());
      await reached();
      expect((await remainsOf(b)).foreignRoutes).toEqual(foreign);
      await b.kill();
      await b.start();
      await b.stop();
      expect((await remainsOf(b)).foreignRoutes).toEqual(foreign);
    } finally {
      await b.run('ip', 'route', 'delete', '203.0.113.0/24');
      await b.run('ip', '-6', 'route', 'delete', 'fd42::/64');
    }
  });

  test('a second gateway of the same instance is refused, and the first does not notice', async () => {
    const { b } = lab();
    await startBoth(lab());
    await reached();
    const before = await remainsOf(b);
    await using second = b.startGateway();
    const { code, stderr } = await second.finished;
    expect(code).toBe(1);
    expect(stderr).toMatch(/DATAPLANE_FAILED|INTERNAL/);
    expect(await remainsOf(b)).toEqual(before);
    expect(await b.sessions('mesh')).toHaveLength(1);
    expect(await reached()).toBe(`hello ${PORTS.granted}`);
  });

  test('a gateway of another instance on the same host comes, is killed, comes again and goes: nobody is disturbed', async () => {
    const { b, domains, directory } = lab();
    await startBoth(lab());
    await reached();
    const before = await remainsOf(b);
    const [session] = await b.sessions('mesh');
    const instance = instanceName('c', 1);
    await using parts = new AsyncDisposableStack();
    parts.defer(() => removeTraces(instance));
    const neighbour = parts.use(
      new Site({
        ...b.options,
        instance,
        directory: join(directory, 'c'),
        gateway: await domains.b.register({ path: '/neighbour', tier: 'master' }),
        tunnelAddress: '10.98.0.2/24',
      }),
    );
    const ports = { listen: { port: 7853 }, wireguard: { port: 51_850, addresses: ['10.98.0.2/24'] } };
    await neighbour.start(ports);
    expect(await reached()).toBe(`hello ${PORTS.granted}`);
    await neighbour.kill();
    await neighbour.start(ports);
    expect(await reached()).toBe(`hello ${PORTS.granted}`);
    await neighbour.stop();
    expect(await reached()).toBe(`hello ${PORTS.granted}`);
    expect(await remainsOf(b)).toEqual(before);
    expect((await b.sessions('mesh')).map(({ id }) => id)).toEqual([session?.id]);
  });

  test('its directories are for its own user only', async () => {
    const { b } = lab();
    await b.start();
    for (const directory of ['run', 'state']) {
      expect((await stat(join(b.options.directory, directory))).mode & 0o777).toBe(0o700);
    }
  });
});
