import type { Clock, Timer } from '../base/clock.ts';
import type { Config } from '../base/config.ts';
import type { Logger } from '../base/logger.ts';
import type { DataPlane, Link } from '../dataplane/ports.ts';
import type { PostureReader } from '../enforcer/ports.ts';

type Filter = Pick<DataPlane, 'flows' | 'network'>;

/**
 * The interfaces that level 1 cuts off from the outside. The filter is on them at every level, passing everything above
 * level 1, so that isolation is one map write and needs nothing to be attached in that moment.
 */
export class Isolation {
  readonly #dataplane: Filter;
  readonly #posture: Config['posture'];
  readonly #attached = new Map<number, Link>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(dataplane: Filter, posture: Config['posture']) {
    this.#dataplane = dataplane;
    this.#posture = posture;
  }

  get links(): readonly Link[] {
    return [...this.#attached.values()];
  }

  /** Attaches to every interface that is to be isolated and is not yet. One that cannot be had keeps no other open. */
  cover(): Promise<void> {
    const covered = this.#turn.then(() => this.#coverAll());
    this.#turn = covered.catch(() => undefined);
    return covered;
  }

  async #coverAll(): Promise<void> {
    const links = await this.#dataplane.network.links();
    const present = new Map(links.map((link) => [link.ifindex, link.name]));
    // A number or a name alone may be another interface's by now.
    for (const { ifindex, name } of this.links) if (present.get(ifindex) !== name) this.#attached.delete(ifindex);
    const failures: unknown[] = [];
    for (const link of links) {
      if (!this.#covers(link) || this.#attached.has(link.ifindex)) continue;
      const allowAtLockdown = this.#posture.allowAtLockdown.filter((flow) => flow.interface === link.name);
      try {
        await this.#dataplane.flows.attach({ ifindex: link.ifindex, kind: 'outer', allowAtLockdown });
        this.#attached.set(link.ifindex, link);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, `${failures.length} interfaces are not isolated`);
  }

  #covers({ name, loopback }: Link): boolean {
    const { isolate } = this.#posture;
    if (isolate === 'none' || loopback) return false;
    // Tunnels of ours have their own, stricter filter.
    if (name.startsWith('shs')) return false;
    return isolate === 'all-but-loopback' || isolate.includes(name);
  }
}

export interface CoverParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly posture: Pick<PostureReader, 'level'>;
}

/** An interface that comes later tells nobody: at lockdown it would be a way around it. Looks until it is disposed. */
export function keepCovered(isolation: Pick<Isolation, 'cover'>, { clock, log, posture }: CoverParts): Disposable {
  let timer: Timer | undefined;
  let isOver = false;
  let told = '';
  const look = async (): Promise<void> => {
    const problem = await isolation.cover().then(() => '', String);
    // One that was gone before it could be had is no problem the next time.
    if (problem !== '' && problem !== told) log.error('not every interface is isolated', { problem });
    told = problem;
    next();
  };
  const next = (): void => {
    if (!isOver) timer = clock.after(posture.level === 1 ? LOOK_AT_LOCKDOWN_MS : LOOK_MS, () => void look());
  };
  next();
  return {
    [Symbol.dispose]() {
      isOver = true;
      timer?.cancel();
    },
  };
}

const LOOK_AT_LOCKDOWN_MS = 100;
const LOOK_MS = 2_000;
