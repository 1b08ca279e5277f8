/**
 * The snapshot of a transition: which governed routes the kernel had when level 5 was left, and what each stage since took
 * and gave. It reports; what authorises a route is its record. So nothing here throws, and nobody waits for long.
 */

import type { PostureLevel } from '../../protocol/posture/level.ts';
import { type RoutePlan, type RouteSpec, routeWords, thoseThere } from '../../protocol/routes/index.ts';
import { type Clock, inTime } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Kept, RouteSnapshot } from './ports.ts';
import { MAX_STAGES } from './records.ts';

/** How long a transition waits for it: a disk that hangs must not keep routes that the level takes away. */
const WAIT_MS = 500;

export class Snapshot {
  readonly #kept: Kept<RouteSnapshot>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #value: RouteSnapshot | undefined;
  #problem: string | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(kept: Kept<RouteSnapshot>, clock: Clock, log: Logger) {
    this.#kept = kept;
    this.#clock = clock;
    this.#log = log;
    this.#value = kept.value;
    this.#problem = kept.problem;
  }

  /** Undefined: level 5 holds, or no run saw it left. */
  get value(): RouteSnapshot | undefined {
    return this.#value;
  }

  /** Why it is not on disk, or could not be read. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** `routeWords` of those recorded routes that it does not have. */
  missing(recorded: readonly RouteSpec[]): ReadonlySet<string> {
    if (this.#value === undefined) return new Set();
    const there = new Set(this.#value.routes);
    return new Set(recorded.map(routeWords).filter((words) => !there.has(words)));
  }

  /** On leaving 5. What was taken before stays: the kernel has lost some of it already. */
  async take(recorded: readonly RouteSpec[], live: readonly RouteSpec[]): Promise<void> {
    if (this.#value !== undefined) return;
    const routes = thoseThere(recorded, live).map(routeWords);
    this.#value = { takenAtMs: this.#clock.now(), routes, stages: [] };
    await this.#save();
  }

  /** Back at 5 it has done its work. The kernel is as it should be already: nobody waits for the disk. */
  pass(level: PostureLevel, { add, remove }: RoutePlan): void {
    if (this.#value === undefined) return;
    const stage = { level, atMs: this.#clock.now(), added: add.map(routeWords), removed: remove.map(routeWords) };
    const { stages } = this.#value;
    this.#value = level === 5 ? undefined : { ...this.#value, stages: [...stages, stage].slice(-MAX_STAGES) };
    this.#writing = this.#save();
  }

  /** A change below 5 is part of what comes back. */
  async amend(route: RouteSpec, isThere: boolean): Promise<void> {
    if (this.#value === undefined) return;
    const words = routeWords(route);
    const others = this.#value.routes.filter((text) => text !== words);
    this.#value = { ...this.#value, routes: isThere ? [...others, words] : others };
    await this.#save();
  }

  /** Resolves when nothing is being written any more. */
  settled(): Promise<void> {
    return this.#writing;
  }

  async #save(): Promise<void> {
    const saved = inTime(
      this.#clock,
      this.#kept.save(this.#value),
      WAIT_MS,
      () => new Error('the disk takes its time'),
    );
    this.#problem = await saved.then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    if (this.#problem !== undefined) {
      this.#log.error('the snapshot of the routes is not on disk', { problem: this.#problem });
    }
  }
}
