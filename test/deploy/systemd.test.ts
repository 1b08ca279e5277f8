/** The systemd unit: by systemd's own tools, and on a systemd that runs it. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { attempt, run } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { SystemdHost, UNIT } from './systemd-host.ts';

/** CAP_NET_ADMIN (12), CAP_PERFMON (38), CAP_BPF (39). */
const CAPABILITIES = '000000c000001000';

describeWith(['systemd'], 'the unit file', () => {
  test('has nothing that systemd does not know', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'shs-unit-'));
    try {
      // Verify looks for the program on the path; here it is not installed.
      const unit = (await readFile(UNIT, 'utf8')).replace('ExecStart=shellstream', `ExecStart=${process.execPath}`);
      await writeFile(join(folder, 'shellstream@.service'), unit);
      const { code, stdout, stderr } = await attempt('systemd-analyze', [
        'verify',
        join(folder, 'shellstream@main.service'),
      ]);
      // Of other units of this host it complains too.
      expect((stdout + stderr).split('\n').filter((line) => line.includes('shellstream'))).toEqual([]);
      expect(code).toBe(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('is exposed no more than its comment says', async () => {
    const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--no-pager', UNIT]);
    const score = /Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1];
    const said = /`systemd-analyze security` gives it ([\d.]+)/.exec(await readFile(UNIT, 'utf8'))?.[1];
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

    test('killed, it comes back', async () => {
      const before = await host.property('MainPID');
      await host.inside('systemctl', 'kill', '--signal=KILL', 'shellstream@main');
      await host.logged('ready', 2);
      const after = await host.property('MainPID');
      expect(Number(after)).toBeGreaterThan(0);
      expect(after).not.toBe(before);
    });

    test('stopped, it ends by itself and in order', async () => {
      expect((await host.inside('systemctl', 'stop', 'shellstream@main')).code).toBe(0);
      await host.logged('gateway stopped');
      expect(await host.property('Result')).toBe('success');
      expect((await host.inside('ip', 'link', 'show', 'shsmain-0')).code).not.toBe(0);
    });
  },
);
