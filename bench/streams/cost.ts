import type { Direction } from './transfer.ts';

const MEBIBYTE = 1_048_576;
const SAMPLE_MEBIBYTES = 192;

/** Microseconds of CPU for one mebibyte, over a sample that goes in each of the directions in turn. */
export async function costOf(
  directions: readonly Direction[],
  cpu: () => number,
  carry: (direction: Direction, bytes: number) => Promise<void>,
): Promise<number> {
  const each = Math.floor(SAMPLE_MEBIBYTES / directions.length);
  const before = cpu();
  for (const direction of directions) await carry(direction, each * MEBIBYTE);
  return (cpu() - before) / (each * directions.length);
}
