import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpuMicroseconds } from '../cpu.ts';
import type { Contender } from '../harness.ts';
import { Commanded } from '../lib/commanded.ts';
import { startGatewaySite } from '../lib/gateway-site.ts';
import type { Identities } from './identities.ts';
import { SESSIONS, WARM_UP_SESSIONS } from './server-subject.ts';

/**
 * The real gateway with its data plane, all its processes added, and what one attested session costs it: without evidence,
 * which no peer keeps, unless told.
 */
export function gateway(
  identities: Identities,
  validations: 'warm' | 'cold',
  options: { readonly terminators?: number; readonly evidence?: boolean } = {},
): Contender {
  const { terminators = 1, evidence = false } = options;
  const name = `ours${terminators === 1 ? '' : `-${terminators}-terminators`}${evidence ? '-with-evidence' : ''}`;
  return {
    name,
    async start() {
      await using stack = new AsyncDisposableStack();
      const label = `${validations}${terminators}${evidence ? 'e' : ''}`;
      const directory = join(identities.directory, label);
      const config = { terminators: { count: terminators }, ...(evidence ? {} : { evidence: 'off' }) };
      const site = stack.use(await startGatewaySite({ label, directory, config }));
      const script = fileURLToPath(new URL('ours.client.ts', import.meta.url));
      const client = await Commanded.ready(site.startClient(script, validations));
      const owned = stack.move();
      return {
        async warmUp() {
          // For each process as many.
          await client.command('run', String(WARM_UP_SESSIONS * terminators));
        },
        async sample() {
          const before = cpuMicroseconds(site.pid);
          await client.command('run', String(SESSIONS));
          return (cpuMicroseconds(site.pid) - before) / SESSIONS;
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}
