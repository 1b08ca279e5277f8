import { setTimeout as delay } from 'node:timers/promises';

const TIMES = 40;
const PAUSE_MS = 250;

/** Where much else runs on the machine a handshake may be too late, or turned away: that comes before a change, and is no part of it. */
export async function patiently<T>(action: () => Promise<T>): Promise<T> {
  for (let left = TIMES; ; left -= 1) {
    try {
      return await action();
    } catch (error) {
      if (left === 1) throw error;
      await delay(PAUSE_MS);
    }
  }
}
