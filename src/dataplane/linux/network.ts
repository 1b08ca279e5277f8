/** Links, addresses, routes and policy rules over netlink. */
import type * as Addon from '../../../native/kernel/kernel.d.ts';
import type { Prefix } from '../../../protocol/capability/model.ts';
import type { Link, LinkWatcher, NetworkLinks, Route } from '../ports.ts';
import { checkInterfaceAddress, checkRoute, networkFailed } from '../route-rules.ts';
import { kernelAddon } from './native.ts';
import { packRoutes, unpackRoutes } from './route-records.ts';

/** Sends packets whose mark has our bits (0xff000000) as `mark` to a table. All our rules carry protocol 83. */
export interface PolicyRule {
  readonly family: 4 | 6;
  /** Lower is asked first; one rule of ours a number. */
  readonly priority: number;
  /** Not 0, and no bit outside 0xff000000. */
  readonly mark: number;
  readonly table: number;
}

export interface LinuxNetwork extends NetworkLinks {
  /** Idempotent. */
  addRule(rule: PolicyRule): Promise<void>;
  /** Idempotent. */
  removeRule(rule: PolicyRule): Promise<void>;
  /** Only ours. */
  rules(): Promise<readonly PolicyRule[]>;
}

/** `namespace`: path of the network namespace meant; default: this process's own. */
export function createLinuxNetwork(options: { readonly namespace?: string } = {}): LinuxNetwork {
  const { RouteNetlink } = kernelAddon();
  const netlink = new RouteNetlink(options.namespace);
  return {
    setUp: (ifindex) => told(netlink.setLink(ifindex, true)),
    setDown: (ifindex) => told(netlink.setLink(ifindex, false)),
    async addAddress(ifindex: number, address: Prefix) {
      checkInterfaceAddress(address);
      await told(netlink.addAddress(ifindex, address.address, address.length));
    },
    async addRoutes(routes) {
      routes.forEach(checkRoute);
      await told(netlink.addRoutes(packRoutes(routes)));
    },
    async removeRoutes(routes) {
      routes.forEach(checkRoute);
      await told(netlink.removeRoutes(packRoutes(routes)));
    },
    routes: async (): Promise<readonly Route[]> => unpackRoutes(await told(netlink.routes())),
    links: async (): Promise<readonly Link[]> => (await told(netlink.links())).map(toLink),
    watchLinks: (watcher) => watchLinks(watcher, options.namespace),
    addRule: (rule) => told(netlink.addRule(rule)),
    removeRule: (rule) => told(netlink.removeRule(rule)),
    rules: async () => (await told(netlink.rules())).map(toRule),
  };
}

function watchLinks({ changed, ended }: LinkWatcher, namespace: string | undefined): Disposable {
  let watch: Addon.LinkWatch | undefined;
  const close = (): void => {
    watch?.close();
    watch = undefined;
  };
  try {
    // The callback holds the watch: it does not end because nobody else does.
    watch = kernelAddon().LinkWatch.open(() => {
      if (watch === undefined) return;
      const { problem } = watch;
      if (problem === null) return changed();
      close();
      ended(problem);
    }, namespace);
  } catch (cause) {
    ended(wordsOf(cause));
  }
  return { [Symbol.dispose]: close };
}

function toLink({ ifindex, name, up, loopback }: Addon.LinkRow): Link {
  return { ifindex, name, up, loopback };
}

function toRule({ family, priority, mark, table }: Addon.RuleRow): PolicyRule {
  return { family: family === 4 ? 4 : 6, priority, mark, table };
}

async function told<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    throw networkFailed(wordsOf(cause), cause);
  }
}

function wordsOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
