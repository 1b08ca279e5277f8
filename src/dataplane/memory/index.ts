/**
 * A data plane without a kernel, for tests of whatever stands on one: it keeps its state in maps, refuses what the real
 * drivers refuse, and passes the contract suites that they pass. Shipped, so that others can test against it.
 */
import { type Clock, systemClock } from '../../base/clock.ts';
import type { DataPlane } from '../ports.ts';
import { createMemoryFlows, type MemoryFlows } from './flows.ts';
import { MemoryNetwork } from './network.ts';
import { createMemoryGovernancePage, type MemoryGovernancePage } from './page.ts';
import { MemoryTunnels } from './tunnels.ts';
import { MemoryWire } from './wire.ts';

export { MemoryWire };

export interface MemoryDataPlaneOptions {
  /** What deadlines and handshake ages go by; the machine's unless told. */
  readonly clock?: Clock;
  /** The UDP network that tunnels of several data planes share; one of its own unless told. */
  readonly wire?: MemoryWire;
  /** Address of this host on the wire. */
  readonly host?: string;
  /** Whether tunnels outlive who made them. */
  readonly tunnelsSurvive?: boolean;
}

export interface MemoryDataPlane extends DataPlane {
  readonly flows: MemoryFlows;
  readonly tunnels: MemoryTunnels;
  readonly network: MemoryNetwork;
  readonly governance: MemoryGovernancePage;
}

export function createMemoryDataPlane(options: MemoryDataPlaneOptions = {}): MemoryDataPlane {
  const { clock = systemClock, wire = new MemoryWire(), host = '192.0.2.1', tunnelsSurvive = false } = options;
  const bootTimeNs = (): bigint => BigInt(Math.round(clock.monotonic() * 1e6));
  const network = new MemoryNetwork();
  return {
    flows: createMemoryFlows({ bootTimeNs }),
    tunnels: new MemoryTunnels({ network, wire, host, clock, survives: tunnelsSurvive }),
    network,
    governance: createMemoryGovernancePage(),
    bootTimeNs,
    [Symbol.asyncDispose]: async () => undefined,
  };
}
