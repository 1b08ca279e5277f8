import type { Clock, Timer } from '../base/clock.ts';
import type { Config } from '../base/config.ts';
import type { Logger } from '../base/logger.ts';
import type { DataPlane, Link, NetworkLinks } from '../dataplane/ports.ts';
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
  /** Gone, and what the data plane keeps of them is still to go: it would use up the room for those that are there. */
  readonly #left = new Set<number>();
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
    const names = new Map(links.map((link) => [link.ifindex, link.name]));
    for (const { ifindex, name } of this.links) {
      // A number or a name alone may be another interface's by now.
      if (names.get(ifindex) === name) continue;
      this.#attached.delete(ifindex);
      this.#left.add(ifindex);
    }
    const failures = await this.#attachMissing(links);
    for (const ifindex of this.#left) {
      if (!names.has(ifindex)) await this.#dataplane.flows.detach(ifindex);
      this.#left.delete(ifindex);
    }
    if (failures.size > 0) await this.#tell(failures);
  }

  async #attachMissing(links: readonly Link[]): Promise<ReadonlyMap<number, unknown>> {
    const failures = new Map<number, unknown>();
    for (const link of links) {
      const { ifindex, name } = link;
      if (!this.#covers(link) || this.#attached.has(ifindex)) continue;
      const allowAtLockdown = this.#posture.allowAtLockdown.filter((flow) => flow.interface === name);
      try {
        await this.#dataplane.flows.attach({ ifindex, kind: 'outer', allowAtLockdown });
        this.#attached.set(ifindex, link);
      } catch (error) {
        failures.set(ifindex, error);
      }
    }
    return failures;
  }

  /** One that went before it could be had is no failure: whoever makes interfaces for containers moves them away at once. */
  async #tell(failures: ReadonlyMap<number, unknown>): Promise<void> {
    const present = new Set((await this.#dataplane.network.links()).map(({ ifindex }) => ifindex));
    const errors = [...failures].filter(([ifindex]) => present.has(ifindex)).map(([, error]) => error);
    if (errors.length > 0) throw new AggregateError(errors, `${errors.length} interfaces are not isolated`);
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
  readonly network: Pick<NetworkLinks, 'watchLinks'>;
}

/**
 * An interface that comes later would be a way around lockdown. Looks as soon as the kernel tells of a change, and from time to
 * time in any case. Disposing waits for the look under way.
 */
export function keepCovered(isolation: Pick<Isolation, 'cover'>, parts: CoverParts): AsyncDisposable {
  const { clock, log, posture, network } = parts;
  let timer: Timer | undefined;
  let looking: Promise<void> | undefined;
  let isDue = false;
  let isOver = false;
  let isTold = true;
  let problem = '';

  const cover = async (): Promise<void> => {
    const found = await isolation.cover().then(() => '', String);
    if (found !== '' && found !== problem) log.error('not every interface is isolated', { problem: found });
    problem = found;
  };
  /** What changes while it looks is one more look, however much it is. */
  const lookUntilNothingIsDue = async (): Promise<void> => {
    while (isDue && !isOver) {
      isDue = false;
      await cover();
    }
    looking = undefined;
    if (!isOver) timer = clock.after(pause(), look);
  };
  const look = (): void => {
    isDue = true;
    if (isOver || looking !== undefined) return;
    timer?.cancel();
    looking = lookUntilNothingIsDue();
  };
  const pause = (): number => (posture.level > 1 || (isTold && problem === '') ? LOOK_MS : LOOK_AT_LOCKDOWN_MS);

  const watch = network.watchLinks({
    changed: look,
    ended(why) {
      isTold = false;
      log.error('the kernel does not tell of new interfaces: they are looked for', { problem: why });
      look();
    },
  });
  look();
  return {
    async [Symbol.asyncDispose]() {
      isOver = true;
      watch[Symbol.dispose]();
      timer?.cancel();
      await looking;
    },
  };
}

/** At lockdown, where the kernel does not tell, or one could not be had. */
const LOOK_AT_LOCKDOWN_MS = 100;
const LOOK_MS = 2_000;
