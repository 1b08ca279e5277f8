/** What the machine tells its host, one JSON object a line. */
import { z } from 'zod';
import { tallyShape } from '../runner/vitest.ts';

const report = z.discriminatedUnion('kind', [
  /** `boots`: how often this machine has started, this time counted. */
  z.object({ kind: z.literal('boot'), kernel: z.string(), boots: z.number() }),
  z.object({ kind: z.literal('begin'), part: z.string() }),
  z.object({ kind: z.literal('end'), part: z.string(), seconds: z.number(), tally: tallyShape }),
  /** As the benchmarks print it (DESIGN §8). */
  z.object({
    kind: z.literal('figure'),
    figure: z.object({
      bench: z.string(),
      unit: z.string(),
      ours: z.number(),
      peers: z.record(z.string(), z.number()),
      ratios: z.record(z.string(), z.number()),
      runs: z.number(),
    }),
  }),
  /** Everything has run; the machine goes off. */
  z.object({ kind: z.literal('done') }),
]);

export type Report = z.infer<typeof report>;

/** Throws on anything that is no report: a line that was cut must not be overlooked. */
export function parseReport(line: string): Report {
  return report.parse(JSON.parse(line));
}
