/** The order in which a change of level reaches everything (P8), as a value. */
import type { PostureLevel } from '../../protocol/posture/index.ts';

/** One thing that follows the level. Idempotent; told the level that holds when it runs. */
export interface PostureStep {
  readonly name: string;
  /** For this long the steps behind it wait; 4 seconds unless told, so that the overlay's budget of 5 holds. */
  readonly deadlineMs?: number;
  apply(level: PostureLevel, epoch: bigint): Promise<void> | void;
}

/** Each list in the order of tightening. */
export interface PostureSteps {
  /** What packets go by. */
  readonly dataPlane: readonly PostureStep[];
  /** Told in the moment in which the level is published; whatever is decided after it is decided by it. */
  readonly admission: PostureStep;
  /** What lives by the level. */
  readonly sessionLayer: readonly PostureStep[];
}

/** `publishes`: before it runs, the level is the one that admission and sessions read. */
export interface PlannedStep {
  readonly step: PostureStep;
  readonly publishes: boolean;
}

/**
 * Tightening goes from the data plane outwards, so that nothing forbidden passes while the rest follows; relaxing goes
 * the other way, so that the data plane is last to open. From a level to itself: all of it, as tightening does.
 */
export function plan(from: PostureLevel, to: PostureLevel, steps: PostureSteps): readonly PlannedStep[] {
  const { dataPlane, admission, sessionLayer } = steps;
  const quiet = (list: readonly PostureStep[]): PlannedStep[] => list.map((step) => ({ step, publishes: false }));
  const published: PlannedStep = { step: admission, publishes: true };
  return to <= from
    ? [...quiet(dataPlane), published, ...quiet(sessionLayer)]
    : [published, ...quiet(sessionLayer.toReversed()), ...quiet(dataPlane.toReversed())];
}
