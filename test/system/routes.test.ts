/** Governed routes in a real kernel: what each level leaves, that others' routes stay, and that nothing outlives a crash. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';
import { run } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

const ORDINARY = '10.31.0.0/24';
const OF_APPRENTICE = '10.32.0.0/24';
const MANAGEMENT = '10.33.0.0/24';
const MONITORING = '10.34.0.0/24';
const ALL = [ORDINARY, OF_APPRENTICE, MANAGEMENT, MONITORING];
const FOREIGN = '10.66.0.0/24';
/** Of our protocol number, and of no record of this instance's. */
const OF_ANOTHER_INSTANCE = '10.67.0.0/24';

const LEFT: Readonly<Record<PostureLevel, readonly string[]>> = {
  5: ALL,
  4: ALL,
  3: [ORDINARY, MANAGEMENT, MONITORING],
  2: [MANAGEMENT, MONITORING],
  1: [MONITORING],
};

const ACCORD = `apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: routes
targets:
  - name: devices
    class: management
    prefixes: [${MANAGEMENT}]
    protocol: tcp
    ports: [443]
    allow: [{ identities: any, minimumTier: master }]
  - name: snmp
    class: monitoring
    prefixes: [${MONITORING}]
    protocol: udp
    ports: [161]
    allow: [{ identities: any, minimumTier: master }]
`;

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'], 'governed routes', () => {
  let lab: Lab;
  let site: Site;
  const state = (): string => join(site.options.directory, 'state');
  /** The other site is there, and never started. */
  const begin = async (): Promise<void> => {
    const accord = join(site.options.directory, 'routes-accord.yaml');
    await mkdir(site.options.directory, { recursive: true });
    await writeFile(accord, ACCORD);
    const evidence = { directory: join(site.options.directory, 'evidence') };
    await site.start({ accord: { file: accord }, evidence });
  };
  const routes = async (): Promise<readonly string[]> => {
    const { stdout } = await site.run('ip', '-4', 'route', 'show', 'table', 'all', 'proto', '83');
    return [...stdout.matchAll(/^(10\.\S+) (?:via \S+ )?dev (?:lan|wan) /gm)]
      .map(([, prefix = '']) => prefix)
      .filter((prefix) => prefix !== OF_ANOTHER_INSTANCE)
      .sort();
  };
  const has = async (prefix: string): Promise<boolean> =>
    (await site.run('ip', 'route', 'show', 'exact', prefix)).stdout.includes(prefix);
  const leaves = (level: PostureLevel): Promise<unknown> =>
    eventually(
      `the routes of level ${level}`,
      async () => JSON.stringify(await routes()) === JSON.stringify([...LEFT[level]].sort()),
    );
  const apply = async (prefix: string, ...more: readonly string[]): Promise<void> => {
    const said = await site.shellstream('routes', 'apply', prefix, '--dev', 'lan', '--reason', 'drill', ...more);
    expect(said).toMatchObject({ code: 0 });
  };

  beforeAll(async () => {
    lab = await createLab();
    site = lab.b;
    await begin();
    await site.run('ip', 'route', 'add', FOREIGN, 'dev', 'lan');
    await site.run('ip', 'link', 'add', 'shsother-0', 'type', 'veth', 'peer', 'name', 'shsother-1');
    await site.run('ip', 'route', 'add', OF_ANOTHER_INSTANCE, 'dev', 'wan', 'proto', '83');
    await apply(ORDINARY);
    await apply(MANAGEMENT, '--class', 'management', '--via', '10.2.0.10');
    await apply(MONITORING, '--class', 'monitoring');
  });

  beforeEach(() => {
    onTestFailed(() => console.error(site.log.slice(-3_000)));
  });

  afterAll(async () => {
    await run('umount', ['--lazy', state()]).catch(() => undefined);
    await lab?.[Symbol.asyncDispose]();
  });

  test('a proposal of an apprentice is queued by its token, carried out when approved, and the token is good for no other', async () => {
    const owner = ['--for', 'spiffe://site-b.test/workload', '--tier', 'apprentice'];
    const { token } = await site.json<{ token: string }>('routes', 'token', ...owner);
    const change = [OF_APPRENTICE, '--dev', 'lan', '--reason', 'drill', '--token', token];
    const { proposal } = await site.json<{ proposal: string }>('routes', 'propose', ...change);
    expect(await has(OF_APPRENTICE)).toBe(false);
    await site.kill();
    await begin();
    const again = await site.shellstream('routes', 'propose', ...change);
    expect(`${again.code} ${again.stderr}`).toMatch(/^1 shellstream: REQUEST_TOKEN_SPENT/);
    expect(await site.shellstream('routes', 'approve', proposal)).toMatchObject({ code: 0 });
    await leaves(5);
  });

  test('5 to 1 and back: each level leaves its own, and never touches another’s', async () => {
    for (const level of [4, 3, 2, 1, 2, 3, 4, 5] as const) {
      await site.setPosture(level);
      await leaves(level);
      expect([await has(FOREIGN), await has(OF_ANOTHER_INSTANCE)]).toEqual([true, true]);
    }
    expect((await site.run('ip', 'route', 'show', 'exact', MANAGEMENT)).stdout).toContain('via 10.2.0.10 dev lan');
  });

  test('a change is refused at 2 and 1 that was not approved beforehand, to a site_owner too', async () => {
    for (const level of [2, 1] as const) {
      await site.setPosture(level);
      const change = ['10.35.0.0/24', '--dev', 'lan', '--reason', 'drill'];
      const said = await site.shellstream('routes', 'apply', ...change);
      expect(`${said.code} ${said.stderr}`).toMatch(/^1 shellstream: POSTURE_MODE_NOT_ALLOWED/);
    }
    await site.setPosture(5);
    await leaves(5);
  });

  test.for([1, 5] as const)(
    'SIGKILL on the way to %i: the next run has what its level leaves, nothing more',
    async (to) => {
      await site.setPosture(to === 1 ? 5 : 1);
      const going = site.setPosture(to).catch(() => undefined);
      await site.kill();
      await going;
      await begin();
      const { effective } = await site.json<{ effective: PostureLevel }>('posture', 'get');
      await leaves(effective);
      expect([await has(FOREIGN), await has(OF_ANOTHER_INSTANCE)]).toEqual([true, true]);
      await site.setPosture(5);
      await leaves(5);
    },
  );

  test('a full disk keeps no route that the level takes away', async () => {
    await site.stop();
    const kept = join(site.options.directory, 'kept');
    await run('cp', ['-a', state(), kept]);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=512k,mode=700', 'tmpfs', state()]);
    await run('cp', ['-a', `${kept}/.`, state()]);
    await begin();
    await leaves(5);
    await run('sh', ['-c', `dd if=/dev/zero of=${state()}/ballast bs=4k 2>/dev/null || true`]);
    await site.setPosture(1).catch(() => undefined);
    await leaves(1);
    await run('rm', [`${state()}/ballast`]);
    await site.setPosture(5);
    await leaves(5);
  });

  test('an orderly stop leaves none of ours, and all of others', async () => {
    await site.stop();
    expect(await routes()).toEqual([]);
    expect([await has(FOREIGN), await has(OF_ANOTHER_INSTANCE)]).toEqual([true, true]);
  });
});
