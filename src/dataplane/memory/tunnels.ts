/** WireGuard in memory: devices on one `MemoryWire` reach each other as keys, pre-shared keys and endpoints allow. */
import type { Clock } from '../../base/clock.ts';
import type { AdoptedTunnel, TunnelDriver, TunnelSpec } from '../ports.ts';
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
  /** As with the kernel's WireGuard; false unless told, as with the embedded one. */
  readonly survives?: boolean;
}

export class MemoryTunnels implements TunnelDriver {
  readonly kind = 'memory';
  readonly #parts: MemoryTunnelsParts;
  readonly #live = new Map<string, MemoryTunnel>();
  /** What a process that comes after this one finds. */
  readonly #left = new Map<string, AdoptedTunnel>();

  constructor(parts: MemoryTunnelsParts) {
    this.#parts = parts;
    parts.network.onUp(() => parts.wire.settle());
  }

  get survives(): boolean {
    return this.#parts.survives ?? false;
  }

  async adopt(name: string): Promise<AdoptedTunnel | undefined> {
    const left = this.#left.get(name);
    if (left?.device instanceof MemoryTunnel) this.#live.set(name, left.device);
    return left;
  }

  async create(spec: TunnelSpec): Promise<MemoryTunnel> {
    checkTunnelSpec(spec);
    const links = await this.#parts.network.links();
    if (links.some(({ name }) => name === spec.name)) throw tunnelFailed(`device ${spec.name}: the name is taken`);
    const { name, privateKey, listenPort } = spec;
    const closed = (): void => {
      this.#live.delete(name);
      this.#left.delete(name);
    };
    const tunnel = new MemoryTunnel({ ...this.#parts, name, privateKey, listenPort, closed });
    this.#live.set(name, tunnel);
    if (this.survives) this.#left.set(name, { device: tunnel, privateKey: Uint8Array.from(privateKey) });
    return tunnel;
  }

  async removeLeftovers(prefix: string): Promise<readonly string[]> {
    checkLeftoverPrefix(prefix);
    const removed: string[] = [];
    for (const { name, ifindex } of await this.#parts.network.links()) {
      if (!name.startsWith(prefix) || this.#live.has(name)) continue;
      await this.#left.get(name)?.device[Symbol.asyncDispose]();
      this.#parts.network.unplug(ifindex);
      removed.push(name);
    }
    return removed.sort();
  }

  /** As when the process that had the devices is killed: those that survive it are leftovers from here on. For tests. */
  abandon(): void {
    this.#live.clear();
  }
}
