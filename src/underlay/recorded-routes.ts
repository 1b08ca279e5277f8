/** The record of governed routes as this process has it: by place, and on disk before the kernel hears of a change. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { type RouteSpec, routePlace } from '../../protocol/routes/index.ts';
import type { RouteRecord, UnderlayRecords } from './ports.ts';

export class RecordedRoutes {
  readonly #kept: UnderlayRecords['routes'];
  readonly #byPlace: Map<string, RouteRecord>;

  constructor(kept: UnderlayRecords['routes']) {
    this.#kept = kept;
    this.#byPlace = new Map((kept.value ?? []).map((record) => [routePlace(record.route), record]));
  }

  /** Why what was on disk cannot be read: then nothing is recorded. */
  get problem(): string | undefined {
    return this.#kept.problem;
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

  /** In its place from here on; when no disk takes it, what was there before. Throws INTERNAL then. */
  async put(record: RouteRecord): Promise<void> {
    const place = routePlace(record.route);
    const former = this.#byPlace.get(place);
    this.#byPlace.set(place, record);
    try {
      await this.save();
    } catch (error) {
      if (former === undefined) this.#byPlace.delete(place);
      else this.#byPlace.set(place, former);
      throw error;
    }
  }

  /** Here alone: the disk has it until `save`. */
  forget(route: RouteSpec): void {
    this.#byPlace.delete(routePlace(route));
  }

  async save(): Promise<void> {
    try {
      await this.#kept.save(this.all);
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', 'governed routes cannot be recorded', { cause });
    }
  }
}
