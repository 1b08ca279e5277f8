/**
 * The load on our gateway: `run N` opens N sessions, some at once; each attests, is granted, sends one PING, gets its
 * PONG and closes. With `warm` as the argument all are of one identity with one token, as a peer keeps them; with `cold`
 * each has a certificate and a token that the gateway has never seen.
 */

import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';
import { CONCURRENCY, inParallel } from './server-subject.ts';

const { operator, rest } = Operator.fromArguments(process.argv);
const isCold = rest[0] === 'cold';

obey(([, times = '']) => inParallel(Number(times), CONCURRENCY, session));

async function session(): Promise<void> {
  if (isCold) operator.rotate();
  const [pong, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const open = await operator.open(
    { capabilities: ['OBSERVE'], targets: [], advertise: [] },
    {
      roundTrip: () => pong.resolve(),
      ended: (_, reason) => {
        pong.reject(new Error(`the session ended: ${reason}`));
        ended.resolve();
      },
    },
  );
  open.ping();
  await pong.promise;
  open.end('CLOSED');
  await ended.promise;
  await open.released();
}
