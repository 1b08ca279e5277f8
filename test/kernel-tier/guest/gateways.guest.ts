import { copyFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { HOST, PORTS } from '../../lab/lab.ts';
import { labSuite } from '../../lab/lab-suite.ts';
import type { Site } from '../../lab/site.ts';
import { eventually } from '../../support/eventually.ts';
import { KEPT } from './disk.ts';

// The lease is renewed by processes that an emulated machine keeps waiting.
labSuite('two sites on the WireGuard of the kernel', { start: false, leaseSeconds: 60 }, (lab) => {
  test('attest each other, and their tunnel is a device of the kernel that has shaken hands', async () => {
    const { a, b } = lab();
    // One after the other, and no process more than it takes: a terminator has 30 s to start.
    await b.start({ terminators: { count: 1 }, stateDirectory: KEPT.state });
    await copyFile(b.configPath, KEPT.config);
    await a.start({ terminators: { count: 1 } });
    for (const site of [a, b]) {
      await eventually('a session', async () => (await site.sessions('mesh')).length === 1);
      expect((await site.run('ip', '-d', 'link', 'show', site.interfaceName)).stdout).toMatch(/^ +wireguard/m);
    }
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    for (const site of [a, b]) expect(await peersOf(site, 'latest-handshakes')).toEqual([HAPPENED]);
  });

  test('have one pre-shared key in both kernels, and another one once they attested again; who has the old one only gets nothing through', async () => {
    const { a, b } = lab();
    const keys = async (): Promise<readonly string[]> =>
      (await Promise.all([a, b].map((site) => peersOf(site, 'preshared-keys')))).flat();
    const [before, same] = await keys();
    expect(before).not.toBe('(none)');
    expect(same).toBe(before);
    a.options.gateway.rotate();
    for (const site of [a, b]) await site.gateway.line(/"msg":"session attested again"/);
    const [after, sameAfter] = await keys();
    expect(after).not.toBe('(none)');
    expect(after).not.toBe(before);
    expect(sameAfter).toBe(after);
    await eventually('the granted target, under the new key', () => a.greeting(HOST, PORTS.granted));
    await beginAnew(a, before);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    expect(await peersOf(a, 'latest-handshakes')).toEqual(['0']);
    await beginAnew(a, after);
    await eventually('the granted target, under the new key again', () => a.greeting(HOST, PORTS.granted));
  });

  test('what was granted passes, and what was not does not', async () => {
    const { a, b } = lab();
    expect(await a.greeting(HOST, PORTS.granted)).toBe(`hello ${PORTS.granted}`);
    expect(await b.greeting(HOST, PORTS.ungranted)).toBe(`hello ${PORTS.ungranted}`);
    expect(await a.greeting(HOST, PORTS.ungranted)).toBeUndefined();
  });

  // The last one: the level is kept, and reboot.ts finds it.
  test('at level 1 the peer leaves the kernel, and nothing passes any more', async () => {
    const { a, b } = lab();
    await b.setPosture(1);
    await eventually('no peer', async () => (await peersOf(b, 'latest-handshakes')).length === 0);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
  });
});

const HAPPENED = expect.stringMatching(/^[1-9]\d*$/);

/** Its one peer as it is, but with another pre-shared key and without the key pairs that it had. */
async function beginAnew(site: Site, presharedKey = ''): Promise<void> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, 'dump');
  const [peer = '', , endpoint = '', allowedIps = ''] = stdout.split('\n')[1]?.split('\t') ?? [];
  const set = ['wg', 'set', site.interfaceName, 'peer', peer].join(' ');
  const rest = `preshared-key /proc/self/fd/0 endpoint ${endpoint} allowed-ips ${allowedIps}`;
  const { code, stderr } = await site.run('sh', '-c', `${set} remove && echo '${presharedKey}' | ${set} ${rest}`);
  if (code !== 0) throw new Error(stderr);
}

/** Of each peer of the tunnel what `wg` tells. */
async function peersOf(site: Site, what: 'latest-handshakes' | 'preshared-keys'): Promise<readonly string[]> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, what);
  return [...stdout.matchAll(/^\S+\t(.+)$/gm)].map(([, said = '']) => said);
}
