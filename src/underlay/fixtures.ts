/** Governed routes over a network in memory, with records that can fail: for the tests beside this file. */
import { readFileSync } from 'node:fs';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { type Accord, type PostureLevel, parseAccord } from '../../protocol/posture/index.ts';
import { MAIN_TABLE, type RouteChange, type RouteOwner, type RouteSpec } from '../../protocol/routes/index.ts';
import { DEFAULT_ACCORD_FILE } from '../base/accord-file.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { MemoryNetwork } from '../dataplane/memory/network.ts';
import { type GovernedParts, GovernedRoutes } from './governed-routes.ts';
import type { Kept, KeptProposals, Mutation, MutationOutcome, RouteRecord, RouteSnapshot } from './ports.ts';

const BASE = parseAccord(readFileSync(DEFAULT_ACCORD_FILE));

export const ACCORD: Accord = parseAccord(
  new TextEncoder().encode(`
apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: underlay
targets:
  - { name: m, class: management, prefixes: [10.5.0.0/24], protocol: tcp, ports: [443], allow: [{ identities: any, minimumTier: master }] }
  - { name: s, class: monitoring, prefixes: [10.7.0.0/24], protocol: udp, ports: [161], allow: [{ identities: any, minimumTier: master }] }
`),
  { bases: new Map([[BASE.id, BASE]]) },
);

export const OWNER: RouteOwner = { subject: 'uid:0', tier: 'site_owner' };
export const MASTER: RouteOwner = { subject: 'spiffe://a.test/master', tier: 'master' };
export const APPRENTICE: RouteOwner = { subject: 'spiffe://a.test/apprentice', tier: 'apprentice' };

export const spec = (destination: string, link = 'lan'): RouteSpec => ({
  destination: parsePrefix(destination),
  link,
  table: MAIN_TABLE,
});

export const adding = (route: RouteSpec, changes: Partial<RouteChange> = {}): RouteChange => ({
  action: 'add',
  route,
  class: 'ordinary',
  reason: 'drill',
  ...changes,
});

/** A record of its own kind: keeps what was saved last, and fails when told. */
export class MemoryKept<T> implements Kept<T> {
  value: T | undefined;
  problem: string | undefined;
  /** Thrown by each save while it is set. */
  failure: Error | undefined;
  /** Called before each save. */
  before: () => void = () => {};

  async save(value: T | undefined): Promise<void> {
    this.before();
    if (this.failure !== undefined) throw this.failure;
    this.value = value;
  }
}

/** A host: its kernel's network and its disk outlive every run. */
export class MemoryHost {
  readonly network: MemoryNetwork;
  readonly clock = new SimulatedClock();
  readonly records = {
    routes: new MemoryKept<readonly RouteRecord[]>(),
    snapshot: new MemoryKept<RouteSnapshot>(),
    proposals: new MemoryKept<KeptProposals>(),
  };
  readonly witnessed: (Mutation | ({ readonly id: string } & MutationOutcome))[] = [];
  /** Before an intent is kept. */
  beforeIntent: () => void = () => {};
  /** Subjects that have no tier any more. */
  readonly gone = new Set<string>();
  #ids = 0;

  private constructor(network: MemoryNetwork) {
    this.network = network;
  }

  static async create(network = new MemoryNetwork()): Promise<MemoryHost> {
    const host = new MemoryHost(network);
    for (const name of ['lan', 'wan', 'shsa-0']) await host.network.setUp(host.network.plug(name));
    return host;
  }

  /** A run of the daemon on this host. */
  start(level: PostureLevel, changes: Partial<GovernedParts> = {}): GovernedRoutes {
    return new GovernedRoutes({
      clock: this.clock,
      log: silentLogger,
      accord: ACCORD,
      network: this.network,
      records: this.records,
      tunnels: () => undefined,
      tierNow: ({ subject, tier }) => (this.gone.has(subject) ? undefined : tier),
      witness: {
        intent: async (mutation) => {
          this.beforeIntent();
          this.witnessed.push(mutation);
        },
        outcome: async ({ id }, outcome) => void this.witnessed.push({ id, ...outcome }),
      },
      preApproved: [],
      randomBytes: (length) => {
        this.#ids += 1;
        return new Uint8Array(length).fill(this.#ids);
      },
      level,
      ...changes,
    });
  }

  async link(name: string): Promise<number> {
    return (await this.network.links()).find((link) => link.name === name)?.ifindex ?? 0;
  }
}
