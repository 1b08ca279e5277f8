import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Contender } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { startGatewaySite } from '../lib/gateway-site.ts';
import { residentBytes } from '../memory.ts';

const SESSIONS = 10_000;
/** Opened and closed before, a few at a time: code that is compiled and its caches are no cost of a session. */
const WARM_UP_SESSIONS = 4_000;
/** For the engine's own collection of what the handshakes left; it waits 8 s for a lull before it starts. */
const SETTLING_MS = 20_000;
const LIMIT = 16_000;

/** KiB of memory that stay resident, in all processes of the gateway, for one session that is open and does nothing. */
export function idleSessions(directory: string): Contender {
  let samples = 0;
  return {
    name: 'ours',
    start: async () => ({
      warmUp: () => Promise.resolve(),
      async sample() {
        samples += 1;
        // A gateway of its own for each: one that has held sessions before has memory to spare.
        const label = `idle${samples}`;
        await using site = await startGatewaySite({
          label,
          directory: join(directory, label),
          limits: { sessions: LIMIT, sessionsPerIdentity: LIMIT, silenceSeconds: 3_600 },
          config: { terminators: { count: 1 } },
        });
        const script = fileURLToPath(new URL('ours.client.ts', import.meta.url));
        const client = await Commanded.ready(site.startClient(script));
        await client.command('churn', String(WARM_UP_SESSIONS));
        await sleep(SETTLING_MS);
        const before = residentBytes(site.pid);
        await client.command('hold', String(SESSIONS));
        await sleep(SETTLING_MS);
        return (residentBytes(site.pid) - before) / SESSIONS / 1024;
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
  };
}
