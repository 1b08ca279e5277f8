/** The systemd units: by systemd's own tools, and on a systemd that runs them. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { attempt, run } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { BOOT_UNIT, SystemdHost, TERMINATOR_UNIT, UNIT } from './systemd-host.ts';

/** CAP_NET_ADMIN (12), CAP_PERFMON (38), CAP_BPF (39). */
const CAPABILITIES = '000000c000001000';

describeWith(['systemd'], 'the unit file', () => {
  test.each([UNIT, TERMINATOR_UNIT, BOOT_UNIT])('%s has nothing that systemd does not know', async (unit) => {
    const folder = await mkdtemp(join(tmpdir(), 'shs-unit-'));
    try {
      // Verify looks for the program on the path; here it is not installed.
      const text = (await readFile(unit, 'utf8')).replace('ExecStart=shellstream', `ExecStart=${process.execPath}`);
      await writeFile(join(folder, basename(unit)), text);
      const instance = join(folder, basename(unit).replace('@', '@1'));
      const { code, stdout, stderr } = await attempt('systemd-analyze', ['verify', instance]);
      // Of other units of this host it complains too.
      expect((stdout + stderr).split('\n').filter((line) => line.includes('shellstream'))).toEqual([]);
      expect(code).toBe(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test.each([UNIT, TERMINATOR_UNIT, BOOT_UNIT])('%s is exposed no more than its comment says', async (unit) => {
    const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--no-pager', unit]);
    const score = /Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1];
    const said = /`systemd-analyze\s+(?:# )?security` gives it ([\d.]+)/.exec(await readFile(unit, 'utf8'))?.[1];
    expect(score).toBe(said);
    expect(Number(score)).toBeLessThanOrEqual(2.5);
  });
});

describeWith(
  ['root', 'namespaces', 'systemd', 'bpf', 'tun', 'addon kernel', 'bpf objects'],
  'a systemd that runs the unit',
  () => {
    let host: SystemdHost;

    beforeAll(async () => {
      host = await SystemdHost.boot();
    });
    afterAll(() => host[Symbol.asyncDispose]());

    test('the gateway is ready, and root may ask it', async () => {
      await host.logged('ready');
      expect(await host.inside('systemctl', 'is-active', 'shellstream@main')).toMatchObject({ stdout: 'active\n' });
      const { code, stdout } = await host.inside('shellstream', 'status', '--json');
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ tunnel: { device: 'shsmain-0' } });
    });

    test('the kept level was applied before the network and before the gateway', async () => {
      await host.logged('posture restored');
      const order = await host.property('Before', 'shellstream-boot@main');
      expect(order.split(' ')).toEqual(expect.arrayContaining(['network-pre.target', 'shellstream@main.service']));
      expect(await host.property('Result', 'shellstream-boot@main')).toBe('success');
    });

    test('its terminators came in at the socket, and the gateway started none itself', async () => {
      await host.logged('terminator started', 2);
      // They say so before the gateway counts them.
      await host.logged('a terminator came', 2);
      const { stdout } = await host.inside('shellstream', 'status', '--json');
      expect(JSON.parse(stdout).counts).toMatchObject({ terminators: 2 });
      const children = await host.inside('pgrep', '--parent', await host.property('MainPID'));
      expect(children.stdout).toBe('');
    });

    test('a terminator has no capability, another user, no new privileges, and its own filter of system calls', async () => {
      const pid = await host.property('MainPID', 'shellstream-terminator@1');
      const { stdout } = await host.inside('cat', `/proc/${pid}/status`);
      const status = new Map(stdout.split('\n').map((line) => [line.split(':')[0], line.split(':')[1]?.trim()]));
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(status.get(set)).toMatch(/^0+$/);
      const [uid] = (status.get('Uid') ?? '').split('\t');
      const gateway = await host.inside('cat', `/proc/${await host.property('MainPID')}/status`);
      expect(gateway.stdout).not.toContain(`Uid:\t${uid}\t`);
      expect(status.get('NoNewPrivs')).toBe('1');
      expect(status.get('Seccomp')).toBe('2');
    });

    test('attack: another user at the terminators’ door is turned away, and so is root', async () => {
      const door = '/run/shellstream-terminators/main/gateway.sock';
      for (const uid of ['65534', '0']) {
        const visitor = await host.inside(
          'setpriv',
          `--reuid=${uid}`,
          '--clear-groups',
          'timeout',
          '5',
          'nc',
          '-UN',
          door,
        );
        expect(visitor.stdout).toBe('');
      }
      await host.logged('a terminator was turned away');
    });

    test('it has three capabilities, no root, no new privileges, and a filter of system calls', async () => {
      const { stdout } = await host.inside('cat', `/proc/${await host.property('MainPID')}/status`);
      const status = new Map(stdout.split('\n').map((line) => [line.split(':')[0], line.split(':')[1]?.trim()]));
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(status.get(set)).toBe(CAPABILITIES);
      expect(status.get('Uid')).not.toMatch(/\b0\b/);
      expect(status.get('NoNewPrivs')).toBe('1');
      expect(status.get('Seccomp')).toBe('2');
    });

    test('its maps and programs are pinned in the bpffs of the host, and only its user can reach them', async () => {
      const { stdout } = await host.inside('stat', '-c', '%U %a', '/sys/fs/bpf/shellstream/main/posture_level');
      expect(stdout).toBe('shellstream 600\n');
      const links = await host.inside('sh', '-c', 'ls /sys/fs/bpf/shellstream/main/links | wc -l');
      expect(links.stdout.trim()).toBe('2');
      const stranger = await host.inside('setpriv', '--reuid=65534', '--clear-groups', 'ls', '/sys/fs/bpf');
      expect(stranger.code).not.toBe(0);
    });

    test('a terminator that was killed comes back', async () => {
      await host.inside('systemctl', 'kill', '--signal=KILL', 'shellstream-terminator@2');
      await host.logged('terminator started', 3);
    });

    test('killed, it comes back, and its terminators to it', async () => {
      const before = await host.property('MainPID');
      await host.inside('systemctl', 'kill', '--signal=KILL', 'shellstream@main');
      await host.logged('ready', 2);
      const after = await host.property('MainPID');
      expect(Number(after)).toBeGreaterThan(0);
      expect(after).not.toBe(before);
      await host.logged('a terminator came', 5);
    });

    test('stopped, it ends by itself and in order', async () => {
      expect((await host.inside('systemctl', 'stop', 'shellstream@main')).code).toBe(0);
      await host.logged('gateway stopped');
      expect(await host.property('Result')).toBe('success');
      expect((await host.inside('ip', 'link', 'show', 'shsmain-0')).code).not.toBe(0);
    });
  },
);
