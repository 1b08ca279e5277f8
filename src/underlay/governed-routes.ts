/**
 * The governed routes of this node: recorded before the kernel has them, brought to what the level leaves at every
 * transition, and read back. What is not recorded is another's and is never touched.
 */
import type { Prefix } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import {
  isAuthorisedNow,
  overlayPrefixesAt,
  planRoutes,
  type RouteDifference,
  type RoutePlan,
  type RouteSpec,
  readBack,
  routeStays,
  routeWords,
  type SessionReach,
} from '../../protocol/routes/index.ts';
import { allOf } from '../base/all-of.ts';
import type { Timer } from '../base/clock.ts';
import type { NetworkLinks } from '../dataplane/ports.ts';
import { KernelRoutes } from './kernel-routes.ts';
import type { RouteRecord, UnderlayRecords } from './ports.ts';
import { RecordedRoutes } from './recorded-routes.ts';
import { type ChangeOrder, type ChangeParts, RouteChanges } from './route-changes.ts';
import { Snapshot } from './snapshot.ts';
import { Tunnelled } from './tunnelled.ts';

export interface GovernedParts extends ChangeParts {
  readonly network: Pick<NetworkLinks, 'addRoutes' | 'removeRoutes' | 'routes' | 'links'>;
  readonly records: Pick<UnderlayRecords, 'routes' | 'snapshot'>;
  readonly level: PostureLevel;
}

export class GovernedRoutes implements AsyncDisposable {
  readonly #parts: GovernedParts;
  readonly #kernel: KernelRoutes;
  readonly #recorded: RecordedRoutes;
  readonly #snapshot: Snapshot;
  readonly #tunnelled: Tunnelled;
  readonly #changes: RouteChanges;
  #level: PostureLevel;
  /** The level of the last transition that was carried out here; undefined: none was. */
  #settled: PostureLevel | undefined;
  /** `routeWords` of recorded routes that somebody else took away, or a tunnel: not put back until asked for anew. */
  #drifted: ReadonlySet<string>;
  #differences: readonly RouteDifference[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  /** Tunnels of a former run are there before anything of ours: the first transition judges them together. */
  #hasBegun = false;
  #isClosed = false;

  constructor(parts: GovernedParts) {
    const { routes, snapshot } = parts.records;
    this.#parts = parts;
    this.#kernel = new KernelRoutes(parts.network);
    this.#recorded = new RecordedRoutes(routes);
    this.#snapshot = new Snapshot(snapshot, parts.clock, parts.log);
    this.#drifted = this.#snapshot.missing(this.#recorded.specs);
    this.#tunnelled = new Tunnelled({
      log: parts.log,
      tunnels: parts.tunnels,
      isInWay: (prefix) => this.#recorded.leadsInto(prefix) || this.#changes.leadsInto(prefix),
      makeWay: () => this.review(),
    });
    this.#changes = new RouteChanges({
      ...parts,
      kernel: this.#kernel,
      recorded: this.#recorded,
      snapshot: this.#snapshot,
      tunnelled: this.#tunnelled,
      level: () => this.#level,
      exclusively: (action) => this.#exclusively(action),
      askedAnew: (route) => {
        this.#drifted = new Set([...this.#drifted].filter((text) => text !== routeWords(route)));
      },
    });
    this.#level = parts.level;
    if (this.#recorded.problem !== undefined) {
      parts.log.error('the record of governed routes cannot be read: none is authorised', {
        problem: this.#recorded.problem,
      });
    }
  }

  get level(): PostureLevel {
    return this.#level;
  }

  get recorded(): readonly (RouteRecord & { readonly stays: boolean })[] {
    return this.#recorded.all.map((record) => ({ ...record, stays: this.#stays(record) }));
  }

  /** Of the last reading back. */
  get differences(): readonly RouteDifference[] {
    return this.#differences;
  }

  get snapshot(): Pick<Snapshot, 'value' | 'problem'> {
    return this.#snapshot;
  }

  /** What of a session's prefixes is routed now; for the overlay. Governed routes make way for all of them. */
  readonly routed = (reach: SessionReach): readonly Prefix[] => {
    if (this.#hasBegun) this.#tunnelled.arrive(reach);
    return overlayPrefixesAt(this.#level, reach, this.#parts.accord);
  };

  /** Before `apply`, while no governed route is taken away yet: on leaving 5 what the kernel has is written down. Idempotent. */
  takeSnapshot(level: PostureLevel): Promise<void> {
    return this.#exclusively(async () => {
      if (this.#leavesNormal(level)) await this.#snap(await this.#kernel.list());
    });
  }

  /** A step of a transition. Idempotent; throws what could not be taken away. */
  async apply(level: PostureLevel): Promise<void> {
    this.#level = level;
    this.#hasBegun = true;
    const steps = [this.#parts.tunnels()?.follow(), this.#exclusively(() => this.#settle())];
    await allOf('routes are not as the level says', steps);
  }

  /** What going to `level` would take away and put back, as the kernel is now. Nothing is done. */
  async preview(level: PostureLevel): Promise<Pick<RoutePlan, 'add' | 'remove'>> {
    if (level === this.#level) return { add: [], remove: [] };
    const { add, remove } = planRoutes({ ...this.#scene(level), live: await this.#kernel.list() });
    // What the kernel lacks when a snapshot is taken does not come back after it.
    return { add: this.#leavesNormal(level) ? [] : add, remove };
  }

  /** What changed meanwhile: takes away what is not authorised any more, adds nothing, and notes what differs. */
  review(): Promise<void> {
    return this.#exclusively(async () => {
      const live = await this.#kernel.list();
      const plan = planRoutes({ ...this.#scene(), live });
      this.#forgo(plan);
      const missing = plan.add.map((route) => ({ kind: 'not-added', route }) as const);
      this.#note([...plan.differences, ...missing]);
      await this.#kernel.remove(plan.remove);
    });
  }

  /** Judged, witnessed, recorded, put into the kernel and read back, in this order. Throws why not. */
  change(order: ChangeOrder): Promise<RouteRecord> {
    return this.#changes.carryOut(order);
  }

  /** Throws why it may not be carried out now. */
  demand(order: ChangeOrder): void {
    this.#changes.demand(order);
  }

  /** Takes every route of ours out of the kernel; the record keeps them for the next run. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#snapshot.settled();
    await this.#exclusively(async () => {
      const words = new Set(this.#recorded.specs.map(routeWords));
      await this.#kernel.remove((await this.#kernel.list()).filter((route) => words.has(routeWords(route))));
    });
  }

  async #settle(): Promise<void> {
    const { log } = this.#parts;
    const from = this.#settled;
    if (from === undefined) await this.#recover();
    const live = await this.#kernel.list();
    if (this.#leavesNormal(this.#level)) await this.#snap(live);
    const plan = planRoutes({ ...this.#scene(), live });
    this.#forgo(plan);
    try {
      await this.#kernel.remove(plan.remove);
    } finally {
      await this.#kernel.add(plan.add);
      const after = plan.add.length + plan.remove.length === 0 ? live : await this.#kernel.list();
      this.#note([...plan.differences, ...readBack(plan, after)]);
    }
    // Who came back before the routes were come to has a snapshot all the same.
    if (this.#level !== from || this.#level === 5) this.#snapshot.pass(this.#level, plan);
    this.#settled = this.#level;
    if (this.#level !== from) {
      log.info('routes follow the posture', {
        level: this.#level,
        added: plan.add.length,
        removed: plan.remove.length,
        differences: this.#differences.length,
      });
    }
    this.#watch();
  }

  async #snap(live: readonly RouteSpec[]): Promise<void> {
    await this.#snapshot.take(this.#recorded.specs, live);
    this.#drifted = this.#snapshot.missing(this.#recorded.specs);
  }

  /** What a crash left between intent and outcome is taken away; a record that cannot be read authorises nothing. */
  async #recover(): Promise<void> {
    const { witness, log } = this.#parts;
    if (this.#recorded.problem !== undefined) return await this.#kernel.remove(await this.#kernel.list());
    const open = this.#recorded.all.filter(({ state }) => state !== 'standing');
    if (open.length === 0) return;
    await this.#kernel.remove(open.map(({ route }) => route));
    for (const { id, route, state } of open) {
      log.warn('a change of a route was not finished: the route is taken away', {
        id,
        route: routeWords(route),
        state,
      });
      this.#recorded.forget(route);
      await witness.outcome({ id }, { kind: state === 'removing' ? 'done' : 'undone' }).catch((error: unknown) => {
        log.error('the outcome of a mutation was not witnessed', { mutation: id, error });
      });
    }
    await this.#recorded.save().catch((error: unknown) => log.error('governed routes not recorded', { error }));
  }

  /** The snapshot is taken on the way to this level. */
  #leavesNormal(level: PostureLevel): boolean {
    return level < 5 && this.#settled === 5 && this.#snapshot.value === undefined;
  }

  #scene(level = this.#level) {
    const isTunnelled = this.#tunnelled.test();
    return {
      recorded: this.#recorded.all.map((record) => ({
        route: record.route,
        stays: this.#stays(record, level),
        authorised: isAuthorisedNow(this.#parts.accord, record, this.#parts.tierNow(record.owner)),
        tunnelled: isTunnelled(record.route.destination),
      })),
      drifted: this.#drifted,
    };
  }

  /** What a tunnel took does not come back by itself when that goes: nobody asked for its packets in the clear. */
  #forgo({ differences }: RoutePlan): void {
    const taken = differences.filter(({ kind }) => kind === 'tunnelled');
    if (taken.length > 0) this.#drifted = new Set([...this.#drifted, ...taken.map(({ route }) => routeWords(route))]);
  }

  #stays(record: RouteRecord, level = this.#level): boolean {
    return routeStays(level, { kind: 'underlay', class: record.class, tier: record.owner.tier }, this.#parts.accord);
  }

  #note(differences: readonly RouteDifference[]): void {
    const text = (all: readonly RouteDifference[]): string =>
      all.map(({ kind, route }) => kind + routeWords(route)).join();
    if (text(differences) !== text(this.#differences)) {
      for (const { kind, route } of differences.slice(0, MOST_LOGGED)) {
        this.#parts.log.warn('a route differs', { kind, route: routeWords(route) });
      }
    }
    this.#differences = differences;
  }

  /** More often where the level is lower (P2: drift detection). */
  #watch(): void {
    const { clock, accord, log } = this.#parts;
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#timer = clock.after(accord.levels[this.#level].underlay.driftCheckSeconds * 1000, () => {
      this.review()
        .catch((error: unknown) => log.error('governed routes could not be reviewed', { error }))
        .finally(() => this.#watch());
    });
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

const MOST_LOGGED = 32;
