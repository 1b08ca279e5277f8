import { expect, test } from 'vitest';
import { HOST, PORTS } from '../../lab/lab.ts';
import { labSuite } from '../../lab/lab-suite.ts';
import type { Site } from '../../lab/site.ts';
import { eventually } from '../../support/eventually.ts';

// The lease is renewed by processes that an emulated machine keeps waiting.
labSuite('two sites on the WireGuard of the kernel', { start: false, leaseSeconds: 60 }, (lab) => {
  test('attest each other, and their tunnel is a device of the kernel that has shaken hands', async () => {
    const { a, b } = lab();
    // Compiles everything: a terminator has 30 s to start. Then one after the other, and no process more than it takes.
    await b.shellstream('doctor');
    for (const site of [b, a]) await site.start({ terminators: { count: 1 } });
    for (const site of [a, b]) {
      await eventually('a session', async () => (await site.sessions('mesh')).length === 1);
      expect((await site.run('ip', '-d', 'link', 'show', site.interfaceName)).stdout).toMatch(/^ +wireguard/m);
    }
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    for (const site of [a, b]) expect(await handshakes(site)).toEqual([expect.stringMatching(/\t[1-9]\d*$/)]);
  });

  test('what was granted passes, and what was not does not', async () => {
    const { a, b } = lab();
    expect(await a.greeting(HOST, PORTS.granted)).toBe(`hello ${PORTS.granted}`);
    expect(await b.greeting(HOST, PORTS.ungranted)).toBe(`hello ${PORTS.ungranted}`);
    expect(await a.greeting(HOST, PORTS.ungranted)).toBeUndefined();
  });

  test('at level 1 the peer leaves the kernel, and nothing passes any more', async () => {
    const { a, b } = lab();
    await b.setPosture(1);
    await eventually('no peer', async () => (await handshakes(b)).length === 0);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
  });
});

/** Of each peer its key and when it last shook hands, as `wg` tells. */
async function handshakes(site: Site): Promise<readonly string[]> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, 'latest-handshakes');
  return stdout.split('\n').filter((line) => line !== '');
}
