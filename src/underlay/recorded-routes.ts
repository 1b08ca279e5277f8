/** The record of governed routes as this process has it: by place, and on disk before the kernel hears of a change. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type RouteSpec, rememberRoute, routePlace } from '../../protocol/routes/index.ts';
import { Destinations } from './destinations.ts';
import type { RouteRecord, UnderlayRecords } from './ports.ts';

export class RecordedRoutes {
  readonly #kept: UnderlayRecords['routes'];
  readonly #byPlace: Map<string, RouteRecord>;
  readonly #destinations: Destinations;

  constructor(kept: UnderlayRecords['routes']) {
    this.#kept = kept;
    for (const { route } of kept.value ?? []) rememberRoute(route);
    this.#byPlace = new Map((kept.value ?? []).map((record) => [routePlace(record.route), record]));
    this.#destinations = new Destinations(this.specs.map(({ destination }) => destination));
  }

  /** Why what was on disk cannot be read: then nothing is recorded. */
  get problem(): string | undefined {
    return this.#kept.problem;
  }

  get size(): number {
    return this.#byPlace.size;
  }

  get all(): readonly RouteRecord[] {
    return [...this.#byPlace.values()];
  }

  get specs(): readonly RouteSpec[] {
    return this.all.map(({ route }) => route);
  }

  /** The one in the same place; its route may be another. */
  at(route: RouteSpec): RouteRecord | undefined {
    return this.#byPlace.get(routePlace(route));
  }

  /** Whether one of them leads nowhere but into `prefix`. */
  leadsInto(prefix: Prefix): boolean {
    return this.#destinations.hasInside(prefix);
  }

  /** In its place from here on; when no disk takes it, what was there before. Throws INTERNAL then. */
  async put(record: RouteRecord): Promise<void> {
    const former = this.at(record.route);
    this.#set(record);
    try {
      await this.save();
    } catch (error) {
      if (former === undefined) this.forget(record.route);
      else this.#set(former);
      throw error;
    }
  }

  /** Here alone: the disk has it until `save`. */
  forget(route: RouteSpec): void {
    if (this.#byPlace.delete(routePlace(route))) this.#destinations.delete(route.destination);
  }

  async save(): Promise<void> {
    try {
      await this.#kept.save(this.all);
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', 'governed routes cannot be recorded', { cause });
    }
  }

  #set(record: RouteRecord): void {
    const { route } = record;
    rememberRoute(route);
    if (this.at(route) === undefined) this.#destinations.add(route.destination);
    this.#byPlace.set(routePlace(route), record);
  }
}
