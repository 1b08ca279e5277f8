/**
 * `hold N`: opens N sessions and keeps their connections, and nothing else of them: it answers no PING, so the gateway must
 * be patient. `churn N` opens N and lets each go before it opens another.
 */

import type { Link } from '../../src/link/index.ts';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';

const CONCURRENCY = 16;

const { operator } = Operator.fromArguments(process.argv);
const held: Link[] = [];

obey(([verb, times = '']) => inParallel(Number(times), CONCURRENCY, verb === 'hold' ? hold : churn));

async function hold(): Promise<void> {
  const { link } = await operator.attest({ capabilities: ['OBSERVE'], targets: [], advertise: [] });
  held.push(link);
}

async function churn(): Promise<void> {
  const { link } = await operator.attest({ capabilities: ['OBSERVE'], targets: [], advertise: [] });
  const gone = new Promise<void>((resolve) => link.onClose(() => resolve()));
  link.close();
  await gone;
}
