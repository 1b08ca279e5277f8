/** Links, addresses and routes in maps, behaving as a Linux network namespace does. */
import type { Prefix } from '../../../protocol/capability/model.ts';
import { formatPrefix } from '../../../protocol/net/prefix.ts';
import type { Link, LinkWatcher, NetworkLinks, Route } from '../ports.ts';
import { checkInterfaceAddress, checkRoute, metricOf, networkFailed, routePlace, routeText } from '../route-rules.ts';

const IPV4_BYTES = 4;

export class MemoryNetwork implements NetworkLinks {
  readonly #links = new Map<number, MemoryLink>();
  readonly #routes = new Map<string, { readonly route: Route; readonly isOurs: boolean }>();
  readonly #onUp = new Set<() => void>();
  readonly #watchers = new Set<LinkWatcher>();
  #isTelling = false;
  #lastIfindex = 0;

  constructor() {
    this.#link(this.plug('lo', true)).up = true;
  }

  async setUp(ifindex: number): Promise<void> {
    this.#link(ifindex).up = true;
    this.#changed();
    for (const listener of this.#onUp) listener();
  }

  async setDown(ifindex: number): Promise<void> {
    const link = this.#link(ifindex);
    link.up = false;
    link.addresses = link.addresses.filter(({ address }) => address.length === IPV4_BYTES);
    this.#flush(ifindex);
    this.#changed();
  }

  async addAddress(ifindex: number, address: Prefix): Promise<void> {
    checkInterfaceAddress(address);
    const link = this.#link(ifindex);
    if (link.addresses.some((known) => formatPrefix(known) === formatPrefix(address))) return;
    link.addresses = [...link.addresses, address];
  }

  async addRoutes(routes: readonly Route[]): Promise<void> {
    routes.forEach(checkRoute);
    for (const route of routes) {
      if (!this.#link(route.ifindex).up) throw networkFailed(`add route ${routeText(route)}: the link is down`);
      if (this.#routes.get(routePlace(route))?.isOurs === false) {
        throw networkFailed(`add route ${routeText(route)}: another program has one there`);
      }
    }
    for (const route of routes) this.#routes.set(routePlace(route), { route: asKept(route), isOurs: true });
  }

  async removeRoutes(routes: readonly Route[]): Promise<void> {
    routes.forEach(checkRoute);
    for (const route of routes) {
      const kept = this.#routes.get(routePlace(route));
      if (kept?.isOurs && routeText(kept.route) === routeText(route)) this.#routes.delete(routePlace(route));
    }
  }

  async routes(): Promise<readonly Route[]> {
    return [...this.#routes.values()].filter(({ isOurs }) => isOurs).map(({ route }) => route);
  }

  async links(): Promise<readonly Link[]> {
    return [...this.#links].map(([ifindex, { name, up, loopback }]) => ({ ifindex, name, up, loopback }));
  }

  watchLinks(watcher: LinkWatcher): Disposable {
    // As in the kernel, each watch is its own, whoever else has the same callbacks.
    const own = { ...watcher };
    this.#watchers.add(own);
    return { [Symbol.dispose]: () => void this.#watchers.delete(own) };
  }

  /** Ends all watches of links, as a broken socket would: for tests. */
  endWatches(problem: string): void {
    const ended = [...this.#watchers];
    this.#watchers.clear();
    for (const watcher of ended) watcher.ended(problem);
  }

  /** A new link, down; its number. For drivers of devices and for tests. The name must be free. */
  plug(name: string, loopback = false): number {
    if ([...this.#links.values()].some((link) => link.name === name)) throw networkFailed(`link ${name} is there`);
    this.#lastIfindex += 1;
    this.#links.set(this.#lastIfindex, { name, up: false, loopback, addresses: [] });
    this.#changed();
    return this.#lastIfindex;
  }

  /** Takes a link away with its addresses and routes. Idempotent. */
  unplug(ifindex: number): void {
    this.#flush(ifindex);
    if (this.#links.delete(ifindex)) this.#changed();
  }

  isUp(ifindex: number): boolean {
    return this.#links.get(ifindex)?.up ?? false;
  }

  addresses(ifindex: number): readonly Prefix[] {
    return this.#link(ifindex).addresses;
  }

  /** A route as another program would put it there: for tests. */
  addForeignRoute(route: Route): void {
    this.#routes.set(routePlace(route), { route: asKept(route), isOurs: false });
  }

  /** Ours and others'. */
  allRoutes(): readonly Route[] {
    return [...this.#routes.values()].map(({ route }) => route);
  }

  /** Called after any link went up. */
  onUp(listener: () => void): void {
    this.#onUp.add(listener);
  }

  #link(ifindex: number): MemoryLink {
    const link = this.#links.get(ifindex);
    if (link === undefined) throw networkFailed(`there is no link ${ifindex}`);
    return link;
  }

  /** All that changes in one turn is one call. */
  #changed(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      for (const watcher of [...this.#watchers]) if (this.#watchers.has(watcher)) watcher.changed();
    });
  }

  /** The kernel does the same with the routes of a link that goes down. */
  #flush(ifindex: number): void {
    for (const [place, { route }] of this.#routes) if (route.ifindex === ifindex) this.#routes.delete(place);
  }
}

interface MemoryLink {
  readonly name: string;
  up: boolean;
  readonly loopback: boolean;
  addresses: readonly Prefix[];
}

/** Without a metric that only says the default, and apart from what the caller may change later. */
function asKept(route: Route): Route {
  const { metric: _, ...rest } = structuredClone(route);
  const metric = metricOf(route);
  return metric === undefined ? rest : { ...rest, metric };
}
