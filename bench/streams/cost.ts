import type { Direction } from './transfer.ts';

const MEBIBYTE = 1_048_576;
const SAMPLE_MEBIBYTES = 192;
/** Samples before the first that counts: as many as an engine needs that compiles what is hot. */
const WARM_UP_SAMPLES = 4;

export type Carry = (direction: Direction, bytes: number) => Promise<void>;

export async function warmUp(directions: readonly Direction[], carry: Carry): Promise<void> {
  for (let sample = 0; sample < WARM_UP_SAMPLES; sample += 1) await costOf(directions, () => 0, carry);
}

/** Microseconds of CPU for one mebibyte, over a sample that goes in each of the directions in turn. */
export async function costOf(directions: readonly Direction[], cpu: () => number, carry: Carry): Promise<number> {
  const each = Math.floor(SAMPLE_MEBIBYTES / directions.length);
  const before = cpu();
  for (const direction of directions) await carry(direction, each * MEBIBYTE);
  return (cpu() - before) / (each * directions.length);
}
