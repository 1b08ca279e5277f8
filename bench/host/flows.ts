import { rm } from 'node:fs/promises';
import { createLinuxFlows, type FlowSizes, type LinuxFlows } from '../../src/dataplane/linux/flows.ts';
import type { Namespace } from '../../test/support/namespaces.ts';

let instances = 0;

/** A flow table on `ifindex` of the namespace, as a tunnel; released by the stack, pins included. */
export async function governedFlows(
  stack: AsyncDisposableStack,
  namespace: Namespace,
  ifindex: number,
  sizes: Partial<FlowSizes> = {},
): Promise<LinuxFlows> {
  instances += 1;
  const instance = `bench-${process.pid}-${instances}`;
  // Pins outlive their process, which is the product's intent and not a benchmark's.
  stack.defer(() => rm(`/sys/fs/bpf/shellstream/${instance}`, { recursive: true, force: true }));
  const flows = stack.use(await createLinuxFlows({ instance, namespace: namespace.path, sizes }));
  stack.defer(() => flows.reset());
  await flows.attach({ ifindex, kind: 'tunnel' });
  return flows;
}

/** The index of a link inside the namespace. */
export async function ifindexOf(namespace: Namespace, link: string): Promise<number> {
  return Number((await namespace.run('cat', [`/sys/class/net/${link}/ifindex`])).stdout);
}
