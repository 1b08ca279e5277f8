/** Site-a of `MemorySites` as an enforcer and a terminator of its own life: the enforcer is killed and started again under it. */
import type { Clock } from '../../src/base/clock.ts';
import { Descriptors } from '../../src/base/descriptors.ts';
import type { Logger } from '../../src/base/logger.ts';
import type { KeptSession } from '../../src/enforcer/kept-session.ts';
import type { SessionId } from '../../src/enforcer/ports.ts';
import type { StandingStore } from '../../src/enforcer/standing-store.ts';
import { type Link, type MemoryLinkPair, memoryLinkPair } from '../../src/link/index.ts';
import { type EnforcerNode, startEnforcer } from '../../src/roots/enforcer.ts';
import type { EnforcerWorld } from '../../src/roots/enforcer-world.ts';
import type { LocalTerminator } from '../../src/roots/terminator.ts';
import { engage } from '../../src/roots/terminator-host.ts';
import { serveEnforcer } from '../../src/roots/terminator-process.ts';
import type { MemorySite } from './memory-sites.ts';

/** What a store keeps, in a map. */
export class MemoryStanding implements StandingStore {
  readonly kept = new Map<SessionId, KeptSession>();

  async keep(session: KeptSession): Promise<void> {
    this.kept.set(session.standing.admission.id, session);
  }

  async drop(session: SessionId): Promise<void> {
    this.kept.delete(session);
  }

  async load(): Promise<readonly KeptSession[]> {
    return [...this.kept.values()];
  }
}

export class RestartingSite {
  readonly standing: StandingStore;
  readonly log: string[] = [];
  /** Why the terminator gave up. */
  lost: string | undefined;
  #site: MemorySite;
  #node: EnforcerNode | undefined;
  #terminator: LocalTerminator | undefined;
  #life = { isOver: false };
  #links: MemoryLinkPair[] = [];

  constructor(site: MemorySite, standing: StandingStore = new MemoryStanding()) {
    this.#site = site;
    this.standing = standing;
  }

  get node(): EnforcerNode {
    if (this.#node === undefined) throw new Error('no enforcer runs');
    return this.#node;
  }

  get terminator(): LocalTerminator {
    if (this.#terminator === undefined) throw new Error('no terminator runs');
    return this.#terminator;
  }

  /** A new enforcer. @param changes to what it is made of */
  async start(changes: Partial<EnforcerWorld> = {}): Promise<EnforcerNode> {
    const life = { isOver: false };
    this.#life = life;
    const clock = mortal(this.#site.world.clock, life);
    const { standing } = this;
    const node = await startEnforcer({ ...this.#site.world, log: this.#logger(), clock, standing, ...changes });
    this.#node = node;
    node.mesh.start();
    return node;
  }

  /** A terminator that came by itself, and comes back. */
  async serve(): Promise<void> {
    const { carrier, crypto, clock } = this.#site.world;
    const redial = async (): Promise<Link> => this.dial();
    const onLost = (why: string): void => {
      this.lost = why;
    };
    const link = await redial();
    const descriptors = new Descriptors(64);
    const log = this.#logger();
    this.#terminator = await serveEnforcer({ link, carrier, descriptors, crypto, clock, log, onLost, redial });
  }

  /** The terminator's end of a connection to the enforcer that runs. */
  dial(): Link {
    const links = memoryLinkPair({ clock: this.#site.world.clock });
    this.#links.push(links);
    engage(this.node, links.responder, () => undefined, { outlives: true }).catch(() => undefined);
    return links.initiator;
  }

  /** As SIGKILL: nothing of it does anything any more, and what it had in the kernel stays. */
  kill(): void {
    this.#life.isOver = true;
    this.#node = undefined;
    this.#site.dataplane.tunnels.abandon();
    for (const links of this.#links.splice(0)) links.cut();
  }

  async stop(): Promise<void> {
    await this.#terminator?.[Symbol.asyncDispose]();
    await this.#node?.[Symbol.asyncDispose]();
  }

  #logger(): Logger {
    const note = (message: string): void => void this.log.push(message);
    const logger: Logger = { debug: note, info: note, warn: note, error: note, child: () => logger };
    return logger;
  }
}

function mortal(clock: Clock, life: { readonly isOver: boolean }): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, action) => clock.after(delayMs, () => life.isOver || action()),
  };
}
