import { readFile } from 'node:fs/promises';

/** CLOCK_BOOTTIME, the clock of every deadline in the maps, in nanoseconds; to a hundredth of a second, rounded down. */
export async function bootTimeNs(): Promise<bigint> {
  const [seconds = '0'] = (await readFile('/proc/uptime', 'utf8')).split(' ');
  return BigInt(Math.round(Number(seconds) * 100)) * 10_000_000n;
}
