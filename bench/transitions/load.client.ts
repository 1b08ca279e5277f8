/**
 * What goes on while the posture changes: handshakes that arrive all the time, a session of each for a moment, and, after
 * `fill N`, N sessions, the first of which have streams that flow. `gone`: when the last of them has ended here, by the
 * host's clock; `arrived`: how many handshakes. Several of these processes share the load.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { loopbackEcho } from '../../test/support/loopback-echo.ts';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';
import { patiently } from './patiently.ts';

const CONCURRENCY = 16;
const PAUSE_MS = 20;
const PIECE = Buffer.alloc(1_024, 0x5a);
const EVERY_MS = 2_000;

const { operator, rest } = Operator.fromArguments(process.argv);
const [flowing = 0, streamsEach = 0] = rest.map(Number);
const { target } = await loopbackEcho();
let standing = 0;
let gone = Promise.withResolvers<string>();
let arrived = 0;

void arrive();

obey(async ([verb, upTo]) => {
  if (verb === 'gone') return await gone.promise;
  if (verb === 'arrived') return String(arrived);
  if (standing === 0) gone = Promise.withResolvers();
  let next = standing;
  await inParallel(Number(upTo) - standing, CONCURRENCY, async () => {
    next += 1;
    await fill(next <= flowing ? streamsEach : 0);
  });
  return '';
});

async function fill(streams: number): Promise<void> {
  const session = await patiently(() =>
    operator.open(
      { capabilities: ['OBSERVE', 'CONNECT'], targets: [target], advertise: [] },
      {
        ended: () => {
          standing -= 1;
          if (standing === 0) gone.resolve(String(process.hrtime.bigint()));
        },
      },
    ),
  );
  standing += 1;
  for (let n = 0; n < streams; n += 1) {
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
