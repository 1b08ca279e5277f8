/**
 * What goes on while the posture changes: handshakes that arrive all the time, a session of each for a moment, and, after
 * `fill`, 50 sessions with 1,000 streams that flow. `gone`: when the last of those sessions has ended, by the host's clock.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { loopbackEcho } from '../lib/loopback-echo.ts';
import { Operator } from '../lib/operator.ts';

const SESSIONS = 50;
const STREAMS_EACH = 20;
const CONCURRENCY = 8;
const ARRIVING = 2;
const PAUSE_MS = 20;
const PIECE = Buffer.alloc(1_024, 0x5a);
const EVERY_MS = 2_000;

const { operator } = Operator.fromArguments(process.argv);
const target = await loopbackEcho();
let left = 0;
let gone = Promise.withResolvers<string>();
let arrived = 0;

for (let n = 0; n < ARRIVING; n += 1) void arrive();

obey(async ([verb]) => {
  if (verb === 'gone') return await gone.promise;
  if (verb === 'arrived') return String(arrived);
  left = SESSIONS;
  gone = Promise.withResolvers();
  await inParallel(SESSIONS, CONCURRENCY, fill);
  return '';
});

async function fill(): Promise<void> {
  const session = await operator.open(
    { capabilities: ['OBSERVE', 'CONNECT'], targets: [target], advertise: [] },
    {
      ended: () => {
        left -= 1;
        if (left === 0) gone.resolve(String(process.hrtime.bigint()));
      },
    },
  );
  for (let n = 0; n < STREAMS_EACH; n += 1) {
    const stream = await session.streams.open(target);
    const timer = setInterval(() => stream.write(PIECE), EVERY_MS * (0.5 + Math.random()));
    stream.on('close', () => clearInterval(timer));
    stream.write(PIECE);
    stream.resume();
  }
}

/** Refused, cut off or granted, each as the moment has it: what stands is looked at from outside. */
async function arrive(): Promise<never> {
  for (;;) {
    await operator.attest({ capabilities: ['OBSERVE'], targets: [], advertise: [] }).then(
      ({ link }) => {
        arrived += 1;
        link.close();
      },
      () => undefined,
    );
    await delay(PAUSE_MS);
  }
}
