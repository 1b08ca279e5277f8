/** A governance page that remembers what was written, for tests. */
import type { GovernancePage, GovernanceState } from '../ports.ts';

export interface MemoryGovernancePage extends GovernancePage {
  /** Undefined until the first write. */
  readonly state: GovernanceState | undefined;
  /** Calls of `write` and `beat`: each moves the heartbeat. */
  readonly beats: number;
}

export function createMemoryGovernancePage(): MemoryGovernancePage {
  let state: MemoryGovernancePage['state'];
  let beats = 0;
  return {
    get state() {
      return state;
    },
    get beats() {
      return beats;
    },
    write(next) {
      state = { ...next };
      beats += 1;
    },
    beat() {
      beats += 1;
    },
  };
}
