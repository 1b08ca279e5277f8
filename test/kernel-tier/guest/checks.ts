import type { Outcome, Tally } from '../../runner/tally.ts';

export interface Checks {
  /** Runs the body; what it throws is the failure. Later checks run all the same. */
  check(name: string, body: () => void | Promise<void>): Promise<void>;
  /** Of the checks so far. */
  tally(): Tally;
}

/** Named checks in a script of its own, for what no test runner lives through: a suspended disk, a reboot. */
export function checks(): Checks {
  let passed = 0;
  const failed: Outcome[] = [];
  return {
    tally: () => ({ passed, failed, skipped: [] }),
    async check(name, body) {
      try {
        await body();
        passed += 1;
        console.log(`✓ ${name}`);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        failed.push({ name, why });
        console.log(`✗ ${name}: ${why}`);
      }
    },
  };
}
