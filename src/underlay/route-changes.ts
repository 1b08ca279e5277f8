/**
 * One change of a governed route at a time: judged, witnessed, recorded, put into the kernel and read back, in this order.
 * Whatever is waited for, the judgement is made again behind it.
 */
import type { Prefix } from '../../protocol/capability/model.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { prefixContains } from '../../protocol/net/prefix.ts';
import type { Accord } from '../../protocol/posture/accord.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import {
  type ApprovedChange,
  decideChange,
  decideOwner,
  type RouteChange,
  type RouteOwner,
  type RouteSpec,
  routePlace,
  routeWords,
  type Verdict,
} from '../../protocol/routes/index.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { KernelRoutes } from './kernel-routes.ts';
import type { Mutation, MutationWitness, RouteRecord, TierNow, TunnelRoutes } from './ports.ts';
import type { RecordedRoutes } from './recorded-routes.ts';
import { MAX_ROUTES } from './records.ts';
import type { Snapshot } from './snapshot.ts';
import type { Tunnelled } from './tunnelled.ts';

export interface ChangeOrder {
  readonly change: RouteChange;
  readonly owner: RouteOwner;
  readonly by: RouteOwner;
  readonly proposal?: string | undefined;
}

/** What a change is judged by and told to. */
export interface ChangeParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly accord: Accord;
  /** Asked when it is needed: tunnels come after this. */
  readonly tunnels: () => TunnelRoutes | undefined;
  readonly tierNow: TierNow;
  readonly witness: MutationWitness;
  readonly preApproved: readonly ApprovedChange[];
  readonly randomBytes: (length: number) => Uint8Array;
}

export interface RouteChangesParts extends ChangeParts {
  readonly kernel: KernelRoutes;
  readonly recorded: RecordedRoutes;
  readonly snapshot: Snapshot;
  readonly tunnelled: Tunnelled;
  readonly level: () => PostureLevel;
  /** One after the other, and none while a transition's plan is carried out. */
  readonly exclusively: <T>(action: () => Promise<T>) => Promise<T>;
  /** It stands because somebody asked for it now, whatever became of it before. */
  readonly askedAnew: (route: RouteSpec) => void;
}

const ID_BYTES = 16;

export class RouteChanges {
  readonly #parts: RouteChangesParts;
  readonly #underWay = new Set<RouteSpec>();

  constructor(parts: RouteChangesParts) {
    this.#parts = parts;
  }

  /** Whether a route that may come to be recorded leads nowhere but into `prefix`. */
  leadsInto(prefix: Prefix): boolean {
    return [...this.#underWay].some(({ destination }) => prefixContains(prefix, destination));
  }

  /** What is recorded of it; throws why it was not carried out. */
  async carryOut(order: ChangeOrder): Promise<RouteRecord> {
    this.demand(order);
    const { action, route } = order.change;
    if (action === 'remove') return await this.#witnessed(order);
    // From here on a tunnel that comes up finds the route in its way; whoever was joining before has joined after this.
    this.#underWay.add(route);
    try {
      await this.#parts.tunnels()?.follow();
      return await this.#witnessed(order);
    } finally {
      this.#underWay.delete(route);
    }
  }

  async #witnessed(order: ChangeOrder): Promise<RouteRecord> {
    const { clock, witness, log, randomBytes, level, exclusively } = this.#parts;
    this.demand(order);
    const mutation: Mutation = {
      id: Buffer.from(randomBytes(ID_BYTES)).toString('hex'),
      action: order.change.action,
      route: order.change.route,
      class: order.change.class,
      owner: order.owner,
      by: order.by,
      reason: order.change.reason,
      level: level(),
      atMs: clock.now(),
      proposal: order.proposal,
    };
    await witness.intent(mutation);
    const told = (outcome: Parameters<MutationWitness['outcome']>[1]): Promise<void> =>
      witness.outcome(mutation, outcome).catch((error: unknown) => {
        log.error('the outcome of a mutation was not witnessed', { mutation: mutation.id, error });
      });
    try {
      // What was awaited may have taken its time: the level that holds now decides.
      const record = await exclusively(async () => {
        this.demand(order);
        return await (mutation.action === 'add' ? this.#add(mutation) : this.#remove(mutation));
      });
      await told({ kind: 'done' });
      log.warn('governed route changed', { ...mutation, route: routeWords(mutation.route) });
      return record;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      await told({ kind: 'failed', reason: reasonOf(error), detail });
      throw error;
    }
  }

  /** Throws why it may not be carried out now. */
  demand(order: ChangeOrder): void {
    this.#judge(order, this.#parts.recorded.at(order.change.route));
  }

  /** @param standing what was recorded in its place before the change */
  #judge({ change, owner, by }: ChangeOrder, standing: RouteRecord | undefined): void {
    const { accord, preApproved, tierNow, level, tunnelled } = this.#parts;
    for (const one of [owner, by]) allowed(decideOwner(one, tierNow(one)));
    const verdict = decideChange({
      accord,
      level: level(),
      tier: by.tier,
      change,
      owner,
      preApproved,
      standing,
      tunnelled: tunnelled.prefixes,
    });
    allowed(verdict);
  }

  async #add(mutation: Mutation): Promise<RouteRecord> {
    const { id, route, class: targetClass, owner, by, reason, atMs } = mutation;
    const { kernel, recorded, snapshot, askedAnew } = this.#parts;
    const place = routePlace(route);
    await kernel.requireLink(route);
    const standing = recorded.at(route);
    if (standing !== undefined && routeWords(standing.route) !== routeWords(route)) {
      throw new ShellstreamError('PREFIX_OVERLAP', `another governed route is there: ${routeWords(standing.route)}`);
    }
    if (standing === undefined) {
      const taken = (await kernel.list()).find((live) => routePlace(live) === place);
      if (taken !== undefined) throw new ShellstreamError('PREFIX_OVERLAP', 'a route of another instance is there');
      if (recorded.size >= MAX_ROUTES) throw new ShellstreamError('OVERLOADED', `${MAX_ROUTES} routes are recorded`);
    }
    const record: RouteRecord = standing ?? { id, state: 'standing', route, class: targetClass, owner, reason, atMs };
    try {
      if (standing === undefined) await recorded.put({ ...record, state: 'adding' });
      // The disk may have taken its time, too.
      this.#judge({ change: mutation, owner, by }, standing);
      await kernel.add([route]);
      if (!(await this.#isLive(record))) {
        throw new ShellstreamError('DATAPLANE_FAILED', `the kernel does not take ${routeWords(route)}`);
      }
      if (standing === undefined) await recorded.put(record);
    } catch (error) {
      if (standing !== undefined) throw error;
      recorded.forget(route);
      await kernel.remove([route]);
      await recorded.save().catch(() => undefined);
      throw error;
    }
    askedAnew(route);
    await snapshot.amend(route, true);
    return record;
  }

  async #remove({ route }: Mutation): Promise<RouteRecord> {
    const { kernel, recorded, snapshot } = this.#parts;
    const record = recorded.at(route);
    if (record === undefined || routeWords(record.route) !== routeWords(route)) {
      throw new ShellstreamError('MALFORMED', `no governed route is recorded as ${routeWords(route)}`);
    }
    await recorded.put({ ...record, state: 'removing' });
    await kernel.remove([route]);
    if (await this.#isLive(record)) throw new ShellstreamError('DATAPLANE_FAILED', 'the kernel keeps the route');
    recorded.forget(route);
    // Should this fail, the next run finds it being removed, and removes it.
    await recorded.save();
    await snapshot.amend(route, false);
    return record;
  }

  async #isLive({ route }: RouteRecord): Promise<boolean> {
    const words = routeWords(route);
    return (await this.#parts.kernel.list()).some((live) => routeWords(live) === words);
  }
}

function allowed(verdict: Verdict): void {
  if (verdict.kind === 'deny') throw new ShellstreamError(verdict.reason, verdict.detail);
}
