/**
 * Where tunnels lead, and where those will that are coming up: no governed route stands there. The overlay asks what of a
 * session is routed before the session is a member, so who is asked for the first time is kept in mind until that is so.
 */
import type { Prefix } from '../../protocol/capability/model.ts';
import type { SessionReach } from '../../protocol/routes/index.ts';
import type { Logger } from '../base/logger.ts';
import { AllowedIps } from '../dataplane/allowed-ips.ts';
import type { TunnelRoutes } from './ports.ts';

export interface TunnelledParts {
  readonly log: Logger;
  readonly tunnels: () => TunnelRoutes | undefined;
  /** Whether a governed route, recorded or about to be, leads nowhere but into the prefix. */
  readonly isInWay: (prefix: Prefix) => boolean;
  /** Takes those away that a tunnel leads to. */
  readonly makeWay: () => Promise<void>;
}

export class Tunnelled {
  readonly #parts: TunnelledParts;
  /** Whom the overlay asked for before. */
  readonly #known = new WeakSet<SessionReach>();
  readonly #arriving = new Set<SessionReach>();
  /** Those of this turn. */
  #batch: SessionReach[] = [];

  constructor(parts: TunnelledParts) {
    this.#parts = parts;
  }

  get prefixes(): readonly Prefix[] {
    return [...(this.#parts.tunnels()?.prefixes ?? []), ...prefixesOf(this.#arriving)];
  }

  /**
   * Whether one of them, as they are now, has the whole of a destination in it. A wider route is in nobody's way: the kernel
   * goes by the longest prefix, and it may be what the tunnel's own packets leave by.
   */
  test(): (destination: Prefix) => boolean {
    const led = new AllowedIps();
    led.claim('tunnels', this.prefixes);
    return (destination) => led.covers(destination);
  }

  /** A session's routes are asked for. Its routes wait for nothing here; a governed one in their way goes at once. */
  arrive(reach: SessionReach): void {
    if (this.#known.has(reach)) return;
    this.#known.add(reach);
    this.#arriving.add(reach);
    this.#batch.push(reach);
    // A thousand that come back together are looked at once.
    if (this.#batch.length === 1) queueMicrotask(() => void this.#meet());
  }

  async #meet(): Promise<void> {
    const { log, tunnels, isInWay, makeWay } = this.#parts;
    const batch = this.#batch;
    this.#batch = [];
    if (prefixesOf(batch).some(isInWay)) {
      // The overlay takes one after the other: when it has followed, whoever was joining has joined, or never will.
      const ends = await Promise.allSettled([makeWay(), tunnels()?.follow()]);
      for (const end of ends) {
        if (end.status === 'rejected') {
          log.error('governed routes could not make way for a tunnel', { error: end.reason });
        }
      }
    }
    for (const reach of batch) this.#arriving.delete(reach);
  }
}

function prefixesOf(reaches: Iterable<SessionReach>): readonly Prefix[] {
  return [...reaches].flatMap(({ prefixes }) => prefixes);
}
