/**
 * `hold N`: opens N sessions and keeps them: all that happens in them is that PINGs are answered. `churn N` opens N and lets
 * each go before it opens another.
 */

import type { Session } from '../../src/session/session.ts';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';

const CONCURRENCY = 16;

const { operator } = Operator.fromArguments(process.argv);
const held: Session[] = [];

obey(([verb, times = '']) => inParallel(Number(times), CONCURRENCY, verb === 'hold' ? hold : churn));

async function hold(): Promise<void> {
  const ended = (_: Session, reason: string): never => {
    throw new Error(`a session ended: ${reason}`);
  };
  held.push(await operator.open({ capabilities: ['OBSERVE'], targets: [], advertise: [] }, { ended }));
}

async function churn(): Promise<void> {
  const { link } = await operator.attest({ capabilities: ['OBSERVE'], targets: [], advertise: [] });
  const gone = new Promise<void>((resolve) => link.onClose(() => resolve()));
  link.close();
  await gone;
}
