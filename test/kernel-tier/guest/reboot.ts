import { strict as assert } from 'node:assert';
import { existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { createFlowWorld, ifindexOf, pinsOf } from '../../dataplane/flow-world.ts';
import type { Tally } from '../../runner/tally.ts';
import { dumpNumbers } from '../../support/bpf-maps.ts';
import { eventually } from '../../support/eventually.ts';
import { createNamespace } from '../../support/namespaces.ts';
import { run } from '../../support/processes.ts';
import { checks } from './checks.ts';
import { KEPT } from './disk.ts';

/** At once and without a word to anybody, as a power cut or a watchdog does it. */
export function reset(): void {
  writeFileSync('/proc/sysrq-trigger', 'b');
}

/** The boot before ended with pins, programs and an active session in place, and had kept a gateway's level 1. */
export async function afterReboot(): Promise<Tally> {
  const { check, tally } = checks();
  await check('after a reboot no pin, no program and no tunnel of before is there', async () => {
    assert.equal(existsSync('/sys/fs/bpf/shellstream'), false);
    const programs: { name?: string }[] = JSON.parse((await run('bpftool', ['-j', 'prog', 'show'])).stdout);
    assert.deepEqual(
      programs.map(({ name = '' }) => name).filter((name) => /^(tunnel|outer)_/.test(name)),
      [],
    );
    const { stdout } = await run('ip', ['-o', 'link', 'show', 'type', 'wireguard']);
    assert.equal(stdout, '');
  });
  await check(
    'a data plane that starts after a reboot has no lease and no session: governed, nothing passes',
    async () => {
      await using world = await createFlowWorld();
      await using harness = await world.fresh();
      const tunnel = await ifindexOf(world.namespace, 'tun0');
      await harness.flows.attach({ ifindex: tunnel, kind: 'tunnel' });
      const addresses = { source: Uint8Array.of(10, 1, 0, 2), destination: Uint8Array.of(10, 1, 0, 1) };
      const ports = { sourcePort: 40_000, destinationPort: 8080, flags: 2 };
      const verdict = await harness.judge({ kind: 'tcp', ifindex: tunnel, direction: 'in', ...addresses, ...ports });
      assert.notEqual(verdict, 'PASS');
    },
  );
  await check(
    'the verb of the boot unit applies the level that a gateway was at: all but loopback is isolated',
    async () => {
      await using peer = await createNamespace('peer');
      await run('ip', ['link', 'add', 'wan', 'type', 'veth', 'peer', 'name', 'wan', 'netns', peer.name]);
      await run('ip', ['address', 'add', '192.0.2.1/30', 'dev', 'wan']);
      await run('ip', ['link', 'set', 'wan', 'up']);
      await peer.run('ip', ['address', 'add', '192.0.2.2/30', 'dev', 'wan']);
      await peer.run('ip', ['link', 'set', 'wan', 'up']);
      const pings = async (): Promise<boolean> => (await peer.attempt('ping', ['-c1', '-W2', '192.0.2.1'])).code === 0;
      await eventually('the link', pings);
      const program = process.env.SHELLSTREAM_PROGRAM ?? '';
      await run(process.execPath, [program, 'posture', 'restore', '--config', KEPT.config]);
      const { instance }: { instance: string } = parse(await readFile(KEPT.config, 'utf8'));
      assert.equal((await dumpNumbers(`${pinsOf(instance)}/posture_level`)).get(1), 1);
      assert.equal(await pings(), false);
    },
  );
  return tally();
}
