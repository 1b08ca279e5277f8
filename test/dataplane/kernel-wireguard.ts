import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { tunnelContract } from '../../src/dataplane/tunnels.contract.ts';
import { createLinuxWorld, DEVICE_PREFIX, uniqueName } from './hosts.ts';

/** Registers what only a kernel with WireGuard can run: a laptop's own, or that of the kernel tier (DESIGN §9). */
export function kernelWireguard(): void {
  describe('the WireGuard of the kernel', () => {
    tunnelContract(() => createLinuxWorld('kernel'));

    test('is a link of kind wireguard, and what a killed run left of it is removed by prefix', async () => {
      await using world = await createLinuxWorld('kernel');
      const name = `k${uniqueName()}`;
      await world.left.namespace.run('ip', ['link', 'add', name, 'type', 'wireguard']);
      const spec = { name: uniqueName(), privateKey: randomBytes(32), listenPort: 0, mtu: 1420 };
      await using device = await world.left.tunnels.create(spec);
      const { stdout } = await world.left.namespace.run('ip', ['-d', 'link', 'show', device.name]);
      expect(stdout).toContain('wireguard');
      expect(await world.left.tunnels.removeLeftovers(`k${DEVICE_PREFIX}`)).toEqual([name]);
    });
  });
}
