/** The data plane of a Linux host: eBPF flows, WireGuard tunnels, netlink, the governance page. */
import type { DataPlane } from '../ports.ts';
import { createLinuxFlows } from './flows.ts';
import { kernelAddon } from './native.ts';
import { createLinuxNetwork } from './network.ts';
import { openGovernancePage } from './page.ts';
import { createLinuxTunnels, type LinuxTunnelKind } from './tunnels.ts';

export { peerCredentialsOf } from './peercred.ts';
export { probeTunnelDriver } from './tunnels.ts';

export interface LinuxDataPlaneOptions {
  /** Names the pins; one process at a time owns an instance. */
  readonly instance: string;
  /** Path of the governance page. */
  readonly governancePage: string;
  readonly tunnels: LinuxTunnelKind;
  /** Prefix of the instance's interface names: devices of former runs under it are deleted; absent: they are left. */
  readonly interfacePrefix?: string;
  /** Path of a network namespace; that of the process unless told. */
  readonly namespace?: string;
}

/** Packet filter and links alone, of an instance that no process owns. Throws DATAPLANE_FAILED with the kernel's words. */
export async function openLinuxFilter(
  instance: string,
): Promise<Pick<DataPlane, 'flows' | 'network'> & AsyncDisposable> {
  const flows = await createLinuxFlows({ instance });
  return { flows, network: createLinuxNetwork(), [Symbol.asyncDispose]: () => flows[Symbol.asyncDispose]() };
}

/** Throws DATAPLANE_FAILED with the kernel's words. */
export async function openLinuxDataPlane(options: LinuxDataPlaneOptions): Promise<DataPlane> {
  const place = options.namespace === undefined ? {} : { namespace: options.namespace };
  const tunnels = createLinuxTunnels({ kind: options.tunnels, ...place });
  const flows = await createLinuxFlows({ instance: options.instance, ...place });
  // After the flows: owning the instance is what says that these devices belong to nobody.
  if (options.interfacePrefix !== undefined) await tunnels.removeLeftovers(options.interfacePrefix);
  return {
    flows,
    tunnels,
    network: createLinuxNetwork(place),
    governance: openGovernancePage(options.governancePage),
    bootTimeNs: () => kernelAddon().bootTimeNs(),
    [Symbol.asyncDispose]: () => flows[Symbol.asyncDispose](),
  };
}
