import { describe } from 'vitest';
import { parseAddress } from '../../../protocol/net/address.ts';
import { systemClock } from '../../base/clock.ts';
import { type TunnelHost, type TunnelWorld, tunnelContract } from '../tunnels.contract.ts';
import { MemoryNetwork } from './network.ts';
import { MemoryTunnel } from './tunnel.ts';
import { MemoryTunnels } from './tunnels.ts';
import { MemoryWire } from './wire.ts';

describe('memory tunnels', () => tunnelContract(makeWorld));

async function makeWorld(): Promise<TunnelWorld> {
  const wire = new MemoryWire();
  let named = 0;
  return {
    left: host(wire, '192.0.2.1'),
    right: host(wire, '192.0.2.2'),
    prefix: 'mem',
    uniqueName: () => `mem${named++}`,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function host(wire: MemoryWire, address: string): TunnelHost {
  const network = new MemoryNetwork();
  return {
    network,
    address,
    tunnels: new MemoryTunnels({ network, wire, host: address, clock: systemClock }),
    reaches: async (device, from, to) =>
      device instanceof MemoryTunnel && device.transmit(parseAddress(from), parseAddress(to)),
  };
}
