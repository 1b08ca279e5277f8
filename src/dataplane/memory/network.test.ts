import { describe } from 'vitest';
import { formatPrefix } from '../../../protocol/net/prefix.ts';
import { type NetworkWorld, networkContract } from '../network.contract.ts';
import { MemoryNetwork } from './network.ts';

describe('links and routes in memory', () => networkContract(makeWorld));

async function makeWorld(): Promise<NetworkWorld> {
  const network = new MemoryNetwork();
  return {
    network,
    ifindex: network.plug('one'),
    otherIfindex: network.plug('two'),
    addForeignRoute: async (route) => network.addForeignRoute(route),
    linksTowards: async (destination) =>
      network
        .allRoutes()
        .filter((route) => formatPrefix(route.destination) === destination)
        .map((route) => route.ifindex),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
