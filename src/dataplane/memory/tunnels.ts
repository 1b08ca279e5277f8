/** WireGuard in memory: devices on one `MemoryWire` reach each other as keys, pre-shared keys and endpoints allow. */
import type { Clock } from '../../base/clock.ts';
import type { TunnelDriver, TunnelSpec } from '../ports.ts';
import { checkLeftoverPrefix, checkTunnelSpec, tunnelFailed } from '../tunnel-rules.ts';
import type { MemoryNetwork } from './network.ts';
import { MemoryTunnel } from './tunnel.ts';
import type { MemoryWire } from './wire.ts';

export interface MemoryTunnelsParts {
  /** Where the devices appear as links. */
  readonly network: MemoryNetwork;
  readonly wire: MemoryWire;
  /** The address of this host on the wire, as peers write it in their endpoints. */
  readonly host: string;
  readonly clock: Clock;
}

export class MemoryTunnels implements TunnelDriver {
  readonly kind = 'memory';
  readonly #parts: MemoryTunnelsParts;
  readonly #live = new Set<string>();

  constructor(parts: MemoryTunnelsParts) {
    this.#parts = parts;
    parts.network.onUp(() => parts.wire.settle());
  }

  async create(spec: TunnelSpec): Promise<MemoryTunnel> {
    checkTunnelSpec(spec);
    const links = await this.#parts.network.links();
    if (links.some(({ name }) => name === spec.name)) throw tunnelFailed(`device ${spec.name}: the name is taken`);
    const { name, privateKey, listenPort } = spec;
    const closed = (): void => void this.#live.delete(name);
    const tunnel = new MemoryTunnel({ ...this.#parts, name, privateKey, listenPort, closed });
    this.#live.add(name);
    return tunnel;
  }

  async removeLeftovers(prefix: string): Promise<readonly string[]> {
    checkLeftoverPrefix(prefix);
    const removed: string[] = [];
    for (const { name, ifindex } of await this.#parts.network.links()) {
      if (!name.startsWith(prefix) || this.#live.has(name)) continue;
      this.#parts.network.unplug(ifindex);
      removed.push(name);
    }
    return removed.sort();
  }
}
