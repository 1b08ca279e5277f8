/** A part of the run: what it found goes to the host when it ends. */
import { systemClock } from '../../../src/base/clock.ts';
import type { Tally } from '../../runner/tally.ts';
import { send } from './send.ts';

export async function part(name: string, body: () => Promise<Tally>): Promise<void> {
  send({ kind: 'begin', part: name });
  // By the wall, since monotonic time stands still in a suspend.
  const began = systemClock.now();
  const tally = await body().catch((error: unknown) => failure(name, error));
  const seconds = Math.round((systemClock.now() - began) / 1000);
  const { passed, failed, skipped } = tally;
  send({ kind: 'end', part: name, seconds, tally: { passed, failed: [...failed], skipped: [...skipped] } });
}

function failure(name: string, error: unknown): Tally {
  console.error(error);
  return { passed: 0, failed: [{ name, why: error instanceof Error ? error.message : String(error) }], skipped: [] };
}
