/** Two network namespaces as hosts of the tunnel contract, and what a test needs around them. */
import { createLinuxNetwork, type LinuxNetwork } from '../../src/dataplane/linux/network.ts';
import { createLinuxTunnels, type LinuxTunnelKind } from '../../src/dataplane/linux/tunnels.ts';
import type { TunnelHost, TunnelWorld } from '../../src/dataplane/tunnels.contract.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';

export interface LinuxHost extends TunnelHost {
  readonly network: LinuxNetwork;
  readonly namespace: Namespace;
}

export interface LinuxWorld extends TunnelWorld {
  readonly left: LinuxHost;
  readonly right: LinuxHost;
}

/** Two namespaces with a veth pair between them, and WireGuard of this kind on both, driven by this process. */
export async function createLinuxWorld(kind: LinuxTunnelKind = 'embedded'): Promise<LinuxWorld> {
  await using owned = new AsyncDisposableStack();
  const left = owned.use(await createNamespace('left'));
  const right = owned.use(await createNamespace('right'));
  await connect(
    { in: left, name: 'wan', addresses: ['192.0.2.1/30', 'fd0a::1/64'] },
    { in: right, name: 'wan', addresses: ['192.0.2.2/30', 'fd0a::2/64'] },
  );
  const resources = owned.move();
  return {
    left: hostIn(kind, left, '192.0.2.1'),
    right: hostIn(kind, right, '192.0.2.2'),
    prefix: DEVICE_PREFIX,
    uniqueName,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Control sockets are one path a name for the whole machine: the process is part of it. */
export const DEVICE_PREFIX = `t${process.pid.toString(36)}x`;

export function uniqueName(): string {
  named += 1;
  return `${DEVICE_PREFIX}${named}`;
}

let named = 0;

function hostIn(kind: LinuxTunnelKind, namespace: Namespace, address: string): LinuxHost {
  return {
    namespace,
    address,
    network: createLinuxNetwork({ namespace: namespace.path }),
    tunnels: createLinuxTunnels({ kind, namespace: namespace.path }),
    // Three packets: the first waits for the handshake, and is not always kept.
    reaches: async (_device, from, to) =>
      (await namespace.attempt('ping', ['-c3', '-i0.3', '-W2', '-I', from, to])).code === 0,
  };
}
