/** What a suite found, and what it means for the run as a whole. */

export interface Outcome {
  readonly name: string;
  /** Of a failure its first lines, of a skip its reason. */
  readonly why: string;
}

export interface Tally {
  readonly passed: number;
  readonly failed: readonly Outcome[];
  readonly skipped: readonly Outcome[];
}

export interface Suite {
  readonly name: string;
  readonly about: string;
  /** Runs only when it is asked for by name. */
  readonly apart?: true;
  run(): Promise<Tally>;
}

/**
 * Where skips are not allowed (in CI) each is a failure; and a suite that ran nothing is one everywhere, for a pattern that
 * matches no file looks just like success.
 */
export function judge(suite: string, tally: Tally, skipsAllowed: boolean): Tally {
  const seen = tally.passed + tally.failed.length + tally.skipped.length;
  if (seen === 0) return { ...tally, failed: [{ name: suite, why: 'ran no test' }] };
  if (skipsAllowed) return tally;
  const refused = tally.skipped.map(({ name, why }) => ({ name, why: `skipped, which CI does not allow: ${why}` }));
  return { passed: tally.passed, failed: [...tally.failed, ...refused], skipped: [] };
}

export function sum(tallies: readonly Tally[]): Tally {
  return {
    passed: tallies.reduce((total, tally) => total + tally.passed, 0),
    failed: tallies.flatMap((tally) => tally.failed),
    skipped: tallies.flatMap((tally) => tally.skipped),
  };
}

/** The line that CI reads (DESIGN §8). */
export function lastLine({ passed, failed, skipped }: Tally, skipsAllowed: boolean): string {
  const line = `${passed} passed, ${failed.length} failed`;
  return skipsAllowed ? `${line}, ${skipped.length} skipped` : line;
}
