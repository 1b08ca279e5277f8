/**
 * What packets met, as evidence: the data plane's programs tell of each level that they see for the first time since another,
 * also of one that another program wrote. Bounded, for that program may write as fast as it likes: of many only the last is
 * recorded, and the gap in their numbers says how many were not.
 */
import { Observer } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { Timer } from '../base/clock.ts';
import type { LevelSeen } from '../dataplane/ports.ts';
import type { Recording } from '../evidence/recorder.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { NodeEvidence } from './evidence.ts';

export const MOST_SEEN = 32;
export const SEEN_WINDOW_MS = 10_000;

type World = Pick<EnforcerWorld, 'clock' | 'log'> & { readonly dataplane: { readonly flows: Flows } };
type Flows = Pick<EnforcerWorld['dataplane']['flows'], 'onLevelSeen'>;

export function recordLevelsSeen(
  { dataplane, clock, log }: World,
  { store }: { readonly store: Pick<NodeEvidence['store'], 'record'> },
): Disposable {
  let spent = 0;
  let last: LevelSeen | undefined;
  let window: Timer | undefined;
  const record = (seen: LevelSeen): void => {
    spent += 1;
    store.record(recording(seen)).catch((error: unknown) => {
      log.error('a level that packets met is not recorded', { level: seen.level, error });
    });
  };
  const turn = (): void => {
    window = undefined;
    spent = 0;
    const kept = last;
    last = undefined;
    if (kept !== undefined) take(kept);
  };
  const take = (seen: LevelSeen): void => {
    window ??= clock.after(SEEN_WINDOW_MS, turn);
    if (spent < MOST_SEEN) record(seen);
    else last = seen;
  };
  const listening = dataplane.flows.onLevelSeen((all) => {
    for (const seen of all) take(seen);
  });
  return {
    [Symbol.dispose]() {
      listening[Symbol.dispose]();
      window?.cancel();
      if (last !== undefined) record(last);
    },
  };
}

function recording({ from, level, heldBy, atBootNs, number }: LevelSeen): Recording {
  const value = {
    fromLevel: from ?? level,
    toLevel: level,
    observer: Observer.DATA_PLANE,
    source: heldBy,
    atBootNs,
    seen: number,
  };
  return { case: 'postureChange', value };
}
