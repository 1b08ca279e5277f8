import { createLinuxNetwork, type LinuxNetwork } from '../../src/dataplane/linux/network.ts';
import type { Route } from '../../src/dataplane/ports.ts';
import type { Contender, Subject } from '../harness.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { destination, expectRoutes, ROUTES } from './workload.ts';

/** Milliseconds to add all routes through the driver. */
export const addRoutes: Contender = {
  name: 'ours',
  start: () => subject('bench-routes', async (network, routes) => () => network.addRoutes(routes)),
};

/** Milliseconds to put back what a snapshot holds, read from the kernel before the routes went. */
export const restoreRoutes: Contender = {
  name: 'ours',
  start: () =>
    subject('bench-restore', async (network, routes) => {
      await network.addRoutes(routes);
      const snapshot = await network.routes();
      await network.removeRoutes(snapshot);
      return () => network.addRoutes(snapshot);
    }),
};

/** @param prepare answers what is measured. */
async function subject(
  label: string,
  prepare: (network: LinuxNetwork, routes: readonly Route[]) => Promise<() => Promise<void>>,
): Promise<Subject> {
  const { namespace, ifindex } = await governedNamespace(label);
  const network = createLinuxNetwork({ namespace: namespace.path });
  const routes = Array.from({ length: ROUTES }, (_, index) => ({
    destination: { address: destination(index), length: 32 },
    ifindex,
    table: 254,
  }));
  return {
    async sample() {
      const measured = await prepare(network, routes);
      const begun = performance.now();
      await measured();
      const took = performance.now() - begun;
      const there = await network.routes();
      expectRoutes(there.length, ROUTES);
      await network.removeRoutes(there);
      return took;
    },
    [Symbol.asyncDispose]: () => namespace[Symbol.asyncDispose](),
  };
}
