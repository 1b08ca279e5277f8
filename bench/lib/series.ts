import type { Contender } from '../harness.ts';

/** What one run tells, by name. */
export interface Series<Name extends string> extends AsyncDisposable {
  run(): Promise<Readonly<Record<Name, number>>>;
}

/**
 * Several figures of the same runs, which are not repeated for each: the first of `names` to be measured makes them, and the
 * others, in the order of the figures, tell what came out beside it.
 */
export function figuresOf<Name extends string>(
  names: readonly Name[],
  start: () => Promise<Series<Name>>,
): Readonly<Record<Name, Contender>> {
  const results: Readonly<Record<Name, number>>[] = [];
  const contender = (name: Name, index: number): Contender => ({
    name: 'ours',
    async start() {
      const series = index === 0 ? await start() : undefined;
      let told = 0;
      return {
        warmUp: () => Promise.resolve(),
        async sample() {
          if (series !== undefined) results.push(await series.run());
          const result = results[told];
          if (result === undefined) throw new Error(`${name} is told after it was measured`);
          told += 1;
          return result[name];
        },
        [Symbol.asyncDispose]: async () => await series?.[Symbol.asyncDispose](),
      };
    },
  });
  return Object.fromEntries(names.map((name, index) => [name, contender(name, index)])) as Record<Name, Contender>;
}
