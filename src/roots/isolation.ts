import type { Config } from '../base/config.ts';
import type { DataPlane, Link } from '../dataplane/ports.ts';

type Filter = Pick<DataPlane, 'flows' | 'network'>;

/**
 * The interfaces that level 1 cuts off from the outside. The filter is on them at every level, passing everything above
 * level 1, so that isolation is one map write and needs nothing to be attached in that moment.
 */
export class Isolation {
  readonly #dataplane: Filter;
  readonly #posture: Config['posture'];
  readonly #attached = new Map<number, Link>();

  constructor(dataplane: Filter, posture: Config['posture']) {
    this.#dataplane = dataplane;
    this.#posture = posture;
  }

  get links(): readonly Link[] {
    return [...this.#attached.values()];
  }

  /** Attaches to every interface that is to be isolated and is not yet; again whenever the level changes. */
  async cover(): Promise<void> {
    const links = await this.#dataplane.network.links();
    const present = new Set(links.map(({ ifindex }) => ifindex));
    for (const ifindex of this.#attached.keys()) if (!present.has(ifindex)) this.#attached.delete(ifindex);
    for (const link of links) {
      if (!this.#covers(link) || this.#attached.has(link.ifindex)) continue;
      const allowAtLockdown = this.#posture.allowAtLockdown.filter((flow) => flow.interface === link.name);
      await this.#dataplane.flows.attach({ ifindex: link.ifindex, kind: 'outer', allowAtLockdown });
      this.#attached.set(link.ifindex, link);
    }
  }

  #covers({ name, loopback }: Link): boolean {
    const { isolate } = this.#posture;
    if (isolate === 'none' || loopback) return false;
    // Tunnels of ours have their own, stricter filter.
    if (name.startsWith('shs')) return false;
    return isolate === 'all-but-loopback' || isolate.includes(name);
  }
}
