import { describe } from 'vitest';
import { formatPrefix } from '../../../protocol/net/prefix.ts';
import { type NetworkWorld, networkContract } from '../network.contract.ts';
import { MemoryNetwork } from './network.ts';

describe('links and routes in memory', () => networkContract(makeWorld));

async function makeWorld(): Promise<NetworkWorld> {
  const network = new MemoryNetwork();
  const ifindex = network.plug('one');
  return {
    network,
    ifindex,
    otherIfindex: network.plug('two'),
    addForeignRoute: async (route) => network.addForeignRoute(route),
    linksTowards: async (destination) =>
      network
        .allRoutes()
        .filter((route) => formatPrefix(route.destination) === destination)
        .map((route) => route.ifindex),
    addLink: async (name) => network.plug(name),
    removeLink: async (number) => network.unplug(number),
    storm() {
      for (let n = 0; n < 250; n++) {
        void network.setDown(ifindex);
        void network.setUp(ifindex);
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}
