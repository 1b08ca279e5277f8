/** The console: for whom it is, and that it does not depend on what a fall of posture cuts off. */
import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import type { PeerView } from '../../src/control/ports.ts';
import type { StatusAnswer } from '../lab/answers.ts';
import { HOST, PORTS } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import { attempt, type Finished } from '../support/processes.ts';

labSuite('the console', {}, (lab) => {
  /** `shellstream` as a user that is nobody here. */
  const asNobody = (...args: readonly string[]): Promise<Finished> => {
    const { b } = lab();
    const [verb = '', ...rest] = args;
    const command = [process.execPath, b.program, verb, ...rest, '--socket', b.socket];
    return attempt('setpriv', ['--reuid', '65534', '--regid', '65534', '--clear-groups', ...command]);
  };

  test('cannot be opened by another user: the socket is not theirs to see', async () => {
    const { code, stderr } = await asNobody('status');
    expect(code).toBe(1);
    expect(stderr).toMatch(/may not open|no gateway answers/);
  });

  test('refuses another user that got at the socket: the kernel says who calls', async () => {
    const { b, directory } = lab();
    const opened = [directory, b.options.directory, dirname(b.socket), b.socket];
    for (const path of opened) await chmod(path, 0o777);
    try {
      for (const verb of [['posture', 'set', '1', '--reason', 'mischief'], ['status'], ['sessions', 'list']]) {
        const { code, stdout, stderr } = await asNobody(...verb);
        expect(`${code} ${stdout}${stderr}`).toMatch(/^1 shellstream: CAPABILITY_NOT_GRANTED/);
      }
      expect(await b.postureInKernel()).toEqual([5, 5]);
    } finally {
      for (const path of opened) await chmod(path, 0o700);
    }
  });

  test('works at level 1, with the Workload API dead, and brings the level back', async () => {
    const { a, b, domains } = lab();
    // Held once site-a knows of the level: what releases it must not come before.
    const isHeld = async (): Promise<boolean> => {
      const { peers } = await a.json<{ readonly peers: readonly PeerView[] }>('anchor', 'list');
      return peers[0]?.state === 'held';
    };
    await domains.b.killAgent();
    try {
      expect(await b.shellstream('posture', 'set', '1', '--reason', 'drill')).toMatchObject({ code: 0 });
      expect(await b.postureInKernel()).toEqual([5, 1]);
      expect(await b.json('posture', 'get')).toMatchObject({ effective: 1 });
      expect(await b.json('sessions', 'list')).toEqual({ sessions: [] });
      expect(await b.shellstream('posture', 'set', '5', '--reason', 'drill over')).toMatchObject({ code: 0 });
    } finally {
      await domains.b.startAgent();
    }
    expect(await b.postureInKernel()).toEqual([5, 5]);
    await eventually('a hold at site-a', isHeld);
    await a.shellstream('anchor', 'release', 'site-b', '--reason', 'drill over');
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted), { withinMs: 30_000 });
  });

  test('says the same as the kernel: interface, tunnel peers, denials', async () => {
    const { a, b } = lab();
    const status = await b.json<StatusAnswer>('status');
    expect(status.tunnel.device).toBe(b.interfaceName);
    const shown = status.interfaces;
    for (const { name, ifindex } of shown) expect(ifindex).toBe(await b.ifindex(name));
    expect(shown.map(({ name }) => name).sort()).toEqual(['lan', b.interfaceName, 'wan'].sort());
    const { stdout } = await b.run('wg', 'show', b.interfaceName, 'peers');
    expect(stdout.trim().split('\n')).toHaveLength(status.counts.tunnelPeers);
    await using events = a.events();
    const denied = await eventually('a denial', async () => {
      await a.greeting(HOST, PORTS.ungranted);
      return events.find('denied', ({ denial }) => denial?.destinationPort === PORTS.ungranted);
    });
    expect(denied.denial).toMatchObject({
      destination: HOST,
      ifindex: await a.ifindex(a.interfaceName),
    });
  });
});
